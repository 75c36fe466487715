"""One module per step of the wizard, and the dialogs over them; none knows another."""
