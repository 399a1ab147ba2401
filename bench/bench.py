#!/usr/bin/env python3
"""Runs the workloads on henge and on DuckDB in one run on one machine and prints a table with the ratios.

usage: bench.py --henge BINARY --shared FOLDER [--queries queries.json] [--only ID,ID] [--repeat 5] [--memory 4GB] [--threads 2] [--work FOLDER]

FOLDER holds data/flights-3m.parquet and data/wikiticker-*.json.gz. TPC-H lineitem is generated once into --work (default
target/bench). DuckDB and the generator come from PyPI into a virtual environment there. henge is asked over HTTP, DuckDB in
process. queries.json is the workload; functions.json asks for the functions that users call most, one a query, and for the planning of
twenty aggregates (`plan20`: every segment is pruned); with it, only the loads that the queries need are run."""
import argparse, glob, json, os, shutil, signal, subprocess, sys, time, urllib.request, venv

HERE = os.path.dirname(os.path.abspath(__file__))
LOADS = ("load_wiki", "load_flights", "load_lineitem", "load_lineitem_csv")

p = argparse.ArgumentParser()
p.add_argument("--henge", required=True)
p.add_argument("--shared", required=True)
p.add_argument("--work", default=os.path.join(HERE, "..", "target", "bench"))
p.add_argument("--queries", default="queries.json", help="a list of queries in the folder of this script")
p.add_argument("--only", default="", help="comma-separated ids; loads that queries need are always run")
p.add_argument("--repeat", type=int, default=5)
p.add_argument("--memory", default="4GB")
p.add_argument("--threads", type=int, default=2)
a = p.parse_args()
only = set(filter(None, a.only.split(",")))
work = os.path.abspath(a.work)
os.makedirs(work, exist_ok=True)


def in_venv():
    """Re-runs this script in a virtual environment that has the peer."""
    home = os.path.join(work, "venv")
    python = os.path.join(home, "bin", "python")
    if sys.prefix == home:
        return
    if not os.path.exists(python):
        venv.create(home, with_pip=True)
        subprocess.check_call([python, "-m", "pip", "install", "-q", "duckdb", "tpchgen-cli"])
    os.execv(python, [python] + sys.argv)


in_venv()
import duckdb  # noqa: E402

flights = os.path.join(a.shared, "data", "flights-3m.parquet")
wiki = glob.glob(os.path.join(a.shared, "data", "wikiticker-*.json.gz"))[0]
lineitem = os.path.join(work, "lineitem.parquet")
lineitem_csv = os.path.join(work, "csv", "lineitem.csv")
generator = os.path.join(work, "venv", "bin", "tpchgen-cli")
if not os.path.exists(lineitem):
    subprocess.check_call([generator, "parquet", "-s", "1", "--tables", "lineitem", "--output-dir", work])
if not os.path.exists(lineitem_csv):
    subprocess.check_call([generator, "csv", "-s", "0.2", "--tables", "lineitem", "--output-dir", os.path.dirname(lineitem_csv)])
queries = json.load(open(os.path.join(HERE, a.queries)))
INPUTS = {"load_wiki": wiki, "load_flights": flights, "load_lineitem": lineitem, "load_lineitem_csv": lineitem_csv, "task_distinct": lineitem}


def settle(path):
    """Writes what is to be written and reads what is to be read: whoever comes first would pay for the disk."""
    os.sync()
    with open(path, "rb") as file:
        while file.read(1 << 24):
            pass


# ---- henge --------------------------------------------------------------------------------------------------------------

data = os.path.join(work, "henge-data")
shutil.rmtree(data, ignore_errors=True)
url = None


def post(path, body):
    request = urllib.request.Request(url + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.read()
    except urllib.error.HTTPError as error:
        sys.exit(f"{path}: {error.code} {error.read().decode()}")


def start_server():
    global url
    begin = time.perf_counter()
    process = subprocess.Popen([a.henge, "server", "--dir", data, "--port", "0", "--memory", a.memory, "--threads", str(a.threads)],
                               stdout=subprocess.PIPE, text=True)
    line = process.stdout.readline()
    url = line.split(" serves ")[1].split(" ")[0]
    post("/druid/v2/sql", {"query": "SELECT 1"})
    return process, time.perf_counter() - begin


def memory_mb(pid, member):
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) // 1024 for line in status if line.startswith(member))


def task(sql, context=None):
    begin = time.perf_counter()
    task_id = json.loads(post("/druid/v2/sql/task", {"query": sql, "context": context or {}}))["taskId"]
    while True:
        with urllib.request.urlopen(f"{url}/druid/indexer/v1/task/{task_id}/status") as answer:
            status = json.load(answer)["status"]
        if status["statusCode"] != "RUNNING":
            break
        time.sleep(0.005)
    if status["statusCode"] != "SUCCESS":
        sys.exit(f"task failed: {status['errorMsg']}\n{sql}")
    return time.perf_counter() - begin


def extern(source, file_format, columns):
    signature = ", ".join(f'"{name}" {kind}' for name, kind in columns)
    return f"TABLE(EXTERN('{json.dumps(source)}', '{json.dumps(file_format)}')) EXTEND ({signature})"


def local(path):
    return {"type": "local", "files": [os.path.abspath(path)]}


LINEITEM_COLUMNS = [("l_orderkey", "BIGINT"), ("l_partkey", "BIGINT"), ("l_suppkey", "BIGINT"), ("l_linenumber", "BIGINT"),
                    ("l_quantity", "DOUBLE"), ("l_extendedprice", "DOUBLE"), ("l_discount", "DOUBLE"), ("l_tax", "DOUBLE"),
                    ("l_returnflag", "VARCHAR"), ("l_linestatus", "VARCHAR"), ("l_shipinstruct", "VARCHAR"),
                    ("l_shipmode", "VARCHAR"), ("l_comment", "VARCHAR")]
LINEITEM_NAMES = ", ".join(name for name, _ in LINEITEM_COLUMNS)
WIKI_COLUMNS = [("time", "VARCHAR"), ("channel", "VARCHAR"), ("page", "VARCHAR"), ("user", "VARCHAR"), ("added", "BIGINT"),
                ("deleted", "BIGINT"), ("cityName", "VARCHAR")]
HENGE = {
    "load_wiki": 'REPLACE INTO wiki OVERWRITE ALL SELECT TIME_PARSE("time") AS __time, channel, page, "user", added, deleted, cityName FROM '
                 + extern(local(wiki), {"type": "json"}, WIKI_COLUMNS) + " PARTITIONED BY DAY CLUSTERED BY channel",
    "load_flights": 'REPLACE INTO flights OVERWRITE ALL SELECT MILLIS_TO_TIMESTAMP("date") AS __time, delay, distance, origin, destination FROM '
                    + extern(local(flights), {"type": "parquet"}, [("date", "BIGINT"), ("delay", "BIGINT"), ("distance", "BIGINT"),
                                                                    ("origin", "VARCHAR"), ("destination", "VARCHAR")])
                    + " PARTITIONED BY MONTH CLUSTERED BY origin, destination",
    "load_lineitem_csv": "REPLACE INTO lineitem_csv OVERWRITE ALL SELECT TIME_PARSE(l_shipdate) AS __time, " + LINEITEM_NAMES + " FROM "
                         + extern(local(lineitem_csv), {"type": "csv", "findColumnsFromHeader": True},
                                  LINEITEM_COLUMNS + [("l_shipdate", "VARCHAR")])
                         + " PARTITIONED BY YEAR CLUSTERED BY l_shipmode, l_returnflag",
    "load_lineitem": "REPLACE INTO lineitem OVERWRITE ALL SELECT MILLIS_TO_TIMESTAMP(l_shipdate) AS __time, " + LINEITEM_NAMES + " FROM "
                     + extern(local(lineitem), {"type": "parquet"}, LINEITEM_COLUMNS + [("l_shipdate", "BIGINT")])
                     + " PARTITIONED BY YEAR CLUSTERED BY l_shipmode, l_returnflag",
    "task_distinct": "SELECT l_suppkey, COUNT(DISTINCT l_partkey) AS n, SUM(l_quantity) AS q FROM "
                     + extern(local(lineitem), {"type": "parquet"}, LINEITEM_COLUMNS) + " GROUP BY 1 ORDER BY 2 DESC LIMIT 10",
}

measured = {}
starts = []
for _ in range(5):
    server, wall = start_server()
    starts.append(wall)
    server.send_signal(signal.SIGTERM)
    server.wait()
server, wall = start_server()
measured["start"] = (min(starts + [wall]), None)
idle_mb = memory_mb(server.pid, "VmRSS:")
try:
    for load in (*LOADS, "task_distinct"):
        asked = load in only if only else a.queries == "queries.json"
        if asked or any(load == "load_" + q["table"] and (not only or q["id"] in only) for q in queries):
            settle(INPUTS[load])
            measured[load] = (task(HENGE[load]), None)
    answers = {}
    for q in queries:
        if only and q["id"] not in only:
            continue
        body = {"query": q["sql"], "resultFormat": "array", "context": {"useCache": False, "useApproximateCountDistinct": False}}
        post("/druid/v2/sql", body)
        walls = []
        for _ in range(a.repeat):
            begin = time.perf_counter()
            answer = post("/druid/v2/sql", body)
            walls.append(time.perf_counter() - begin)
        answers[q["id"]] = json.loads(answer)
        measured[q["id"]] = (min(walls), len(answers[q["id"]]))
    loaded_mb, peak_mb = memory_mb(server.pid, "VmRSS:"), memory_mb(server.pid, "VmHWM:")
    sizes = {}
    for table in ("flights", "lineitem"):
        rows = json.loads(post("/druid/v2/sql", {"query": f"SELECT SUM(\"size\") AS s FROM sys.segments WHERE datasource = '{table}' AND is_active = 1"}))
        sizes[table] = rows[0]["s"] if rows else None
finally:
    server.send_signal(signal.SIGTERM)
    server.wait()

# ---- DuckDB -------------------------------------------------------------------------------------------------------------

database = os.path.join(work, "peer.duckdb")
for leftover in glob.glob(database + "*"):
    os.remove(leftover)
con = duckdb.connect(database)
con.execute(f"SET threads={a.threads}; SET memory_limit='{a.memory}'; SET TimeZone='UTC'; SET temp_directory='{work}/spill'; SET enable_progress_bar=false")
MONEY = "CAST(l_quantity AS DOUBLE) l_quantity, CAST(l_extendedprice AS DOUBLE) l_extendedprice, CAST(l_discount AS DOUBLE) l_discount, CAST(l_tax AS DOUBLE) l_tax"
LINES = f"SELECT CAST(l_shipdate AS TIMESTAMP) AS __time, l_orderkey, l_partkey, l_suppkey, l_linenumber, {MONEY}, l_returnflag, l_linestatus, l_shipinstruct, l_shipmode, l_comment FROM "
ORDER = " ORDER BY date_trunc('year', __time), l_shipmode, l_returnflag, __time"
DUCKDB = {
    "load_wiki": f"COPY (SELECT CAST(\"time\" AS TIMESTAMP) AS __time, channel, page, \"user\", added, deleted, cityName FROM read_json('{wiki}') ORDER BY date_trunc('day', __time), channel, __time) TO '{work}/wiki.parquet' (FORMAT parquet, COMPRESSION zstd)",
    "load_flights": f"COPY (SELECT date AS __time, delay, distance, origin, destination FROM read_parquet('{flights}') ORDER BY date_trunc('month', __time), origin, destination, __time) TO '{work}/flights.parquet' (FORMAT parquet, COMPRESSION zstd)",
    "load_lineitem": f"COPY ({LINES} read_parquet('{lineitem}') {ORDER}) TO '{work}/lineitem.sorted.parquet' (FORMAT parquet, COMPRESSION zstd)",
    "load_lineitem_csv": f"COPY ({LINES} read_csv('{lineitem_csv}') {ORDER}) TO '{work}/lineitem.csv.parquet' (FORMAT parquet, COMPRESSION zstd)",
    "task_distinct": f"SELECT l_suppkey, COUNT(DISTINCT l_partkey) AS n, SUM(l_quantity) AS q FROM read_parquet('{lineitem}') GROUP BY 1 ORDER BY 2 DESC LIMIT 10",
}
peer = {}
for work_id, sql in DUCKDB.items():
    if work_id in measured:
        settle(INPUTS[work_id])
        begin = time.perf_counter()
        con.execute(sql).fetchall()
        peer[work_id] = time.perf_counter() - begin
if any(q["id"] in measured for q in queries):
    con.execute(f"CREATE TABLE flights AS SELECT date AS __time, delay, distance, origin, destination FROM read_parquet('{flights}') ORDER BY date_trunc('month', __time), origin, destination, __time")
    con.execute(f"CREATE TABLE lineitem AS {LINES} read_parquet('{lineitem}') {ORDER}")


def same(ours, theirs):
    """Tells whether both gave the same rows; times are compared as text, doubles to nine digits."""
    def norm(value):
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return f"{float(value):.9g}"
        return str(value).replace("T", " ").replace(".000Z", "").replace("Z", "")
    return [[norm(v) for v in row] for row in ours] == [[norm(v) for v in row] for row in theirs]


wrong = []
for q in queries:
    if q["id"] not in measured:
        continue
    sql = q["duckdb"] or q["sql"]
    rows = con.execute(sql).fetchall()
    walls = []
    for _ in range(a.repeat):
        begin = time.perf_counter()
        con.execute(sql).fetchall()
        walls.append(time.perf_counter() - begin)
    peer[q["id"]] = min(walls)
    if q["id"] != "l_scan" and not same(answers[q["id"]], rows):
        wrong.append(q["id"])

# ---- table --------------------------------------------------------------------------------------------------------------

print(f"\nhenge ({a.threads} threads, {a.memory}, over HTTP) beside DuckDB {duckdb.__version__} (in process)\n")
print(f"{'work':<20}{'henge s':>10}{'DuckDB s':>10}{'ratio':>8}")
ratios = {}
for work_id, (wall, _) in measured.items():
    ratio = wall / peer[work_id] if work_id in peer else None
    ratios[work_id] = ratio
    print(f"{work_id:<20}{wall:>10.4f}" + (f"{peer[work_id]:>10.4f}{ratio:>8.2f}" if ratio else f"{'–':>10}{'–':>8}")
          + ("   WRONG ANSWER" if work_id in wrong else ""))
of_queries = [ratios[q["id"]] for q in queries if ratios.get(q["id"])]
if of_queries:
    product = 1.0
    for ratio in of_queries:
        product *= ratio
    print(f"\n{len(of_queries)} queries: geometric mean {product ** (1 / len(of_queries)):.2f}, worst {max(of_queries):.2f}")
print(f"resident: idle {idle_mb} MB, after the run {loaded_mb} MB, peak {peak_mb} MB")
for table, size in sizes.items():
    if size:
        print(f"segments of {table}: {float(size) / 1e6:.1f} MB")
sys.exit(1 if wrong else 0)
