"""Write rows ``(user, item, rating, time)`` as raw files in the layout of each dataset."""

import gzip
import json
import zipfile
from datetime import datetime, timezone
from itertools import groupby


def day(time, form):
    return datetime.fromtimestamp(time, timezone.utc).strftime(form)


def walks(users=24, items=24, start=1_400_000_000):
    """Rows in which every user walks the same circle of items, one step a day; they are not sorted by time."""
    rows = [(u + 1, (u + s) % items + 1, 1 + s % 5, start + 86_400 * s) for u in range(users) for s in range(items)]
    return sorted(rows, key=lambda row: (row[1] * 7 + row[0] * 11) % 101)


def write_ml1m(folder, rows):
    folder.mkdir()
    lines = ["::".join(map(str, row)) for row in rows]
    (folder / "ratings.dat").write_text("\n".join(lines) + "\n", encoding="latin-1")
    items, users = sorted({row[1] for row in rows}), sorted({row[0] for row in rows})
    movies = [f"{item}::Movie {item}, L'\xe9t\xe9 (1) (1999)::Comedy|Drama\n" for item in items]
    (folder / "movies.dat").write_text("".join(movies), encoding="latin-1")
    (folder / "users.dat").write_text("".join(f"{user}::F::25::3::1234-5\n" for user in users), encoding="latin-1")
    return folder


def write_movielens_csv(archive, rows):
    """Write a zip that holds one folder, as GroupLens does."""
    ratings = "userId,movieId,rating,timestamp\n" + "".join(f"{u},{i},{r}.0,{t}\n" for u, i, r, t in rows)
    movies = "movieId,title,genres\n" + "".join(
        f'{i},"Film {i}, The (1999)",Drama|IMAX\n' for i in sorted({r[1] for r in rows})
    )
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, text in (("ratings", ratings), ("movies", movies), ("tags", "userId,movieId,tag,timestamp\n")):
            packed.writestr(f"{archive.stem}/{name}.csv", text.replace("\n", "\r\n"))
    return archive


def netflix_lines(rows):
    """Yield a line ``MovieID:`` and the ratings of that movie, movies in order."""
    for movie, ratings in groupby(sorted(rows, key=lambda row: row[1]), key=lambda row: row[1]):
        yield f"{movie}:\n"
        yield from (f"{user},{rating},{day(time, '%Y-%m-%d')}\n" for user, _, rating, time in ratings)


def write_netflix(folder, rows):
    folder.mkdir()
    movies = sorted({row[1] for row in rows})
    for part in range(4):
        chosen = [row for row in rows if movies.index(row[1]) * 4 // len(movies) == part]
        (folder / f"combined_data_{part + 1}.txt").write_text("".join(netflix_lines(chosen)))
    titles = [f"{movie},{'NULL' if movie == movies[0] else 1990},Caf\xe9, {movie}, Part 2\n" for movie in movies]
    (folder / "movie_titles.csv").write_text("".join(titles), encoding="latin-1")
    return folder


def write_ijcai16(folder, rows):
    folder.mkdir()
    lines = [f"{u},9,{i},5,{'1' if r == 5 else '0'},{day(t, '%Y%m%d')}\n" for u, i, r, t in rows]
    (folder / "ijcai2016_taobao.csv").write_text("use_ID,sel_ID,ite_ID,cat_ID,act_ID,time\n" + "".join(lines))
    return folder


def write_ijcai15(folder, rows):
    folder.mkdir()
    lines = [f"{u},{i},5,9,{'' if i % 2 else 7},{day(t, '%m%d')},{r % 4}\n" for u, i, r, t in rows]
    header = "user_id,item_id,cat_id,seller_id,brand_id,time_stamp,action_type\n"
    (folder / "user_log_format1.csv").write_text(header + "".join(lines))
    return folder


def write_lfm(folder, rows):
    folder.mkdir()
    lines = [f"{u}\t{i}\t{i + 1000}\t{i + 2000}\t{t}\n" for u, i, _, t in rows]
    (folder / "LFM-1b_LEs.txt").write_text("".join(lines))
    items, users = sorted({row[1] for row in rows}), sorted({row[0] for row in rows})
    (folder / "LFM-1b_artists.txt").write_text("".join(f"{i}\tArtist {i} Bj\xf6rk\n" for i in items), encoding="utf-8")
    for level, shift in (("albums", 1000), ("tracks", 2000)):
        (folder / f"LFM-1b_{level}.txt").write_text("".join(f"{i + shift}\tWork {i}\t{i}\n" for i in items))
    header = "user_id\tcountry\tage\tgender\tplaycount\tregistered_unixtime\n"
    (folder / "LFM-1b_users.txt").write_text(header + "".join(f"{u}\tAT\t?\tm\t100\t1035849600\n" for u in users))
    return folder


def asin(item):
    return f"B{item:09d}"


def write_amazon_ratings(folder, rows, category="Beauty"):
    folder.mkdir()
    lines = [f"A{u}XYZ,{asin(i)},{r}.0,{t}\n" for u, i, r, t in rows]
    (folder / f"ratings_{category}.csv").write_text("".join(lines))
    return folder


def write_amazon_reviews(folder, rows, category="Beauty"):
    folder.mkdir()
    with gzip.open(folder / f"reviews_{category}_5.json.gz", "wt") as file:
        for u, i, r, t in rows:
            review = {"reviewerID": f"A{u}XYZ", "asin": asin(i), "reviewerName": 'J. "K"', "helpful": [0, 0]}
            review |= {"reviewText": "Tabs\tand\nlines", "overall": float(r), "summary": "ok", "unixReviewTime": t}
            file.write(json.dumps(review) + "\n")
    with gzip.open(folder / f"meta_{category}.json.gz", "wt") as file:
        for i in sorted({row[1] for row in rows}):
            product = {"asin": asin(i), "title": f"Soap 'n' \"{i}\"", "price": 9.99, "brand": "None"}
            product |= {"categories": [["Beauty", "Hair Care"], ["Beauty"]], "salesRank": {"Beauty": i}, "imUrl": "x"}
            file.write(repr(product) + "\n")
    return folder


def write_table(file, rows):
    file.write_text("who,what,when\n" + "".join(f"u{u},i{i},{day(t, '%Y-%m-%dT%H:%M:%SZ')}\n" for u, i, _, t in rows))
    return file
