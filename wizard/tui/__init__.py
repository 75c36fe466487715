"""The full-screen wizard. It shows plans; it computes none."""
