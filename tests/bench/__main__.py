"""`make bench`: prints every table."""

from tests.bench import planner

for line in planner.report():
    print(line)
