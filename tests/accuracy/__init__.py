"""`python -m tests.accuracy`: the planner's predictions against launches that really happened."""
