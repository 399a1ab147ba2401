#!/usr/bin/env python3
"""Compares a segment of TPC-H lineitem with DuckDB, one thread each: the same sorted rows written (as zstd Parquet there), and scanned
for the sum of a DOUBLE, and for that sum by a STRING (from DuckDB's own table there).

usage: segments.py --lineitem BINARY [--rows 3000000] [--repeat 3] [--work FOLDER]

BINARY is the example `lineitem` of henge-segment, which makes the rows. DuckDB comes from PyPI into a virtual environment in --work
(default target/bench). `make bench-segments` runs this."""
import argparse, json, os, subprocess, sys, time, venv

HERE = os.path.dirname(os.path.abspath(__file__))
p = argparse.ArgumentParser()
p.add_argument("--lineitem", required=True)
p.add_argument("--rows", type=int, default=3_000_000)
p.add_argument("--repeat", type=int, default=3)
p.add_argument("--work", default=os.path.join(HERE, "..", "target", "bench"))
a = p.parse_args()
work = os.path.abspath(a.work)
os.makedirs(work, exist_ok=True)

python = os.path.join(work, "venv", "bin", "python")
if os.path.realpath(sys.prefix) != os.path.realpath(os.path.join(work, "venv")):
    if not os.path.exists(python):
        venv.create(os.path.join(work, "venv"), with_pip=True)
        subprocess.check_call([python, "-m", "pip", "install", "-q", "duckdb"])
    os.execv(python, [python] + sys.argv)
import duckdb  # noqa: E402

csv = os.path.join(work, f"lineitem-sorted-{a.rows}.csv")
segment = os.path.join(work, "lineitem-segment")


def henge(threads, *more):
    command = [a.lineitem, segment, "--rows", str(a.rows), "--threads", str(threads), "--repeat", str(a.repeat), *more]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    return {line["work"]: line for line in map(json.loads, lines)}


one = henge(1, *([] if os.path.exists(csv) else ["--csv", csv]))
two = henge(2)

database = os.path.join(work, "segments.duckdb")
if os.path.exists(database):
    os.remove(database)
con = duckdb.connect(database)
con.execute("SET enable_progress_bar=false; SET preserve_insertion_order=true")
longs = ["l_orderkey", "l_partkey", "l_suppkey", "l_linenumber"]
doubles = ["l_quantity", "l_extendedprice", "l_discount", "l_tax"]
names = ["__time", "l_shipmode", "l_returnflag"] + longs + doubles + ["l_linestatus", "l_shipinstruct", "l_comment"]
types = {n: "BIGINT" if n in longs + ["__time"] else "DOUBLE" if n in doubles else "VARCHAR" for n in names}
columns = ", ".join(f"'{n}': '{t}'" for n, t in types.items())
source = f"read_csv('{csv}', delim='|', header=false, quote='', escape='', columns={{{columns}}})"
select = "make_timestamp(__time * 1000) AS __time, " + ", ".join(names[1:])
con.execute(f"CREATE TABLE lineitem AS SELECT {select} FROM {source}")
con.execute("CHECKPOINT")
con.execute("CREATE TEMP TABLE sorted AS FROM lineitem")
con.execute("SET threads=1")


def best(sql, repeat):
    walls, cpus = [], []
    for _ in range(repeat):
        wall, cpu = time.perf_counter(), time.process_time()
        con.execute(sql).fetchall()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return min(walls), min(cpus)


parquet = os.path.join(work, "lineitem-segment.parquet")
peer = {
    "write": best(f"COPY sorted TO '{parquet}' (FORMAT parquet, COMPRESSION zstd)", a.repeat),
    "sum": best("SELECT sum(l_extendedprice) FROM lineitem", a.repeat * 3),
    "sum_by_string": best("SELECT l_shipmode, sum(l_extendedprice) FROM lineitem GROUP BY 1", a.repeat * 3),
}
print(f"{a.rows} rows of lineitem; DuckDB {duckdb.__version__}; seconds, one thread each; limit: henge / DuckDB")
for name, limit in (("write", 1.5), ("sum", 2.0), ("sum_by_string", 2.0)):
    mine, (theirs, _) = one[name]["wall_s"], peer[name]
    print(f"{name:<14} henge {mine:8.4f}   DuckDB {theirs:8.4f}   ratio {mine / theirs:5.2f}   limit {limit}")
mine, (_, theirs) = one["write"]["cpu_s"], peer["write"]
print(f"processor time of write: henge {mine:.2f}   DuckDB {theirs:.2f}   ratio {mine / theirs:.2f}")
print(f"write with 2 threads: henge {two['write']['wall_s']:.4f}")
print(f"bytes: henge {one['write']['bytes']}, Parquet {os.path.getsize(parquet)}")
