"""`make bench`: prints every table."""

from tests.bench import planner, terminal

for table in (planner, terminal):
    for line in table.report():
        print(line, flush=True)
    print()
