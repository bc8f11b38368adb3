"""The report as a file: what is on it against nibabel and pandas by hand, as strict HTML, and with parts missing."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path
from types import SimpleNamespace

import html5lib
import nibabel as nib
import numpy as np
import pytest
import xarray as xr
from PIL import Image
from typer.testing import CliRunner

import laion_xr
import laion_xr.report.build as build_module
from laion_xr.cli import app
from laion_xr.errors import IncompleteDataWarning, LaionXRError, SelectionError, SubjectNotFoundError
from laion_xr.report import SECTIONS, write_report
from laion_xr.report.page import Cell, Column, Note, Page, Section, Table, render

NAMESPACE = "{http://www.w3.org/1999/xhtml}"


class Document:
    """A report, parsed by a strict parser."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.root = html5lib.HTMLParser(strict=True).parse(text)

    def all(self, tag: str, **attributes: str) -> list:
        wanted = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items()}
        return [e for e in self.root.iter(NAMESPACE + tag) if wanted.items() <= dict(e.attrib).items()]

    def words(self, element) -> str:
        return " ".join("".join(element.itertext()).split())

    def table(self, id_: str) -> dict[str, dict[str, str]]:
        """Return row name -> column title -> text."""
        (table,) = self.all("table", id=id_)
        head, *rows = [[self.words(c) for c in row] for row in table.iter(NAMESPACE + "tr")]
        return {row[0]: dict(zip(head, row, strict=True)) for row in rows}

    def section(self, id_: str):
        return self.all("section", id=id_)[0]

    @property
    def problems(self) -> list[str]:
        return [self.words(p) for p in self.all("p", class_="note problem")]

    @property
    def ids(self) -> list[str]:
        return [e.attrib["id"] for e in self.root.iter() if "id" in e.attrib]


def report(obj, folder: Path, **options) -> Document:
    path = write_report(obj, folder / "report.html", progress=False, **options)
    assert path == folder / "report.html"
    assert [p.name for p in folder.iterdir() if "partial" in p.name] == []
    return Document(path.read_text("utf-8"))


@pytest.fixture(scope="module")
def complete(dataset_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Document:
    return report(dataset_root, tmp_path_factory.mktemp("report"), subject="sub-03", betas=True)


def test_every_section_is_there_and_nothing_went_wrong(complete: Document) -> None:
    assert [s.attrib["id"] for s in complete.all("section")] == list(SECTIONS)
    assert complete.problems == []


def test_html_is_well_made(complete: Document) -> None:
    assert complete.all("html")[0].attrib["lang"] == "en"
    assert len(set(complete.ids)) == len(complete.ids)
    anchors = [a.attrib["href"] for a in complete.all("a")]
    assert all(a.startswith("#") and a[1:] in complete.ids for a in anchors)
    for attribute in ("aria-labelledby", "for", "data-copies", "data-filters"):
        named = [e.attrib[attribute] for e in complete.root.iter() if attribute in e.attrib]
        assert named
        assert set(named) <= set(complete.ids)
    assert len(complete.all("h1")) == 1
    assert len(complete.all("h2")) == len(SECTIONS)
    assert all(th.attrib.get("scope") in ("col", "row") for th in complete.all("th"))


def test_nothing_is_loaded_and_scripts_cannot(complete: Document) -> None:
    (policy,) = complete.all("meta", http_equiv="Content-Security-Policy")
    assert policy.attrib["content"].startswith("default-src 'none'; img-src data:;")
    loaded = [v for e in complete.root.iter() for n, v in e.attrib.items() if n in ("src", "srcset", "href")]
    assert all(v.startswith(("data:", "#")) for v in loaded)
    assert re.findall(r"https?://|@import|url\(", complete.text) == []


def test_pictures_have_words_and_both_schemes_are_images(complete: Document) -> None:
    images = complete.all("img")
    assert len(images) == 10
    assert all(len(i.attrib["alt"]) > 40 and i.attrib["width"] and i.attrib["height"] for i in images)
    uris = [i.attrib["src"] for i in images] + [s.attrib["srcset"] for s in complete.all("source")]
    for uri in uris:
        kind, data = uri.split(";base64,")
        content = base64.b64decode(data)
        if kind == "data:image/png":
            assert np.asarray(Image.open(io.BytesIO(content)).convert("L")).std() > 5  # not one colour
        else:
            assert kind == "data:image/svg+xml"
            assert b"<svg" in content
    narrow = [s for s in complete.all("source") if "max-width" in s.attrib["media"]]
    assert all(s.attrib["width"] and s.attrib["height"] for s in narrow)
    assert len(narrow) == 2 * 5 - 1  # bars, overlap, two of slices, betas
    assert len(uris) - len(narrow) == 2 * len(images) - 1  # the betas are read, and drawn, once


def test_counts_of_trials_and_images(tiny, tmp_path: Path) -> None:
    found = report(tiny.root, tmp_path, subject=3)
    rows, table = found.table("sessions-table"), tiny.table()
    for name, group in table.groupby("session"):
        shared, ood = group.label.str.startswith("shared"), group.label.str.contains("_OOD_")
        row = rows[name]
        assert (row["Trials"], row["Images"]) == (str(len(group)), str(group.label.nunique()))
        assert row["Runs"] == str(group.run.nunique())
        assert (row["Shared trials"], row["OOD trials"]) == (str(shared.sum()), str(ood.sum()))
        assert row["Unique trials"] == str((~shared).sum())
        r2 = tiny.in_mask(tiny.session_maps["sub-03", name, "r2_session"])
        assert row["R² (%)"] == f"{np.nanmedian(r2):.1f}"
        assert row["NaN voxels"] == str(np.isnan(r2).sum())


def test_numbers_of_rois_are_those_of_the_files(complete: Document, dataset_root: Path) -> None:
    folder = dataset_root / "derivatives"
    (mask_file,) = folder.glob("anatomical/sub-03/*/anat/*res-1pt8_desc-brain_mask.nii.gz")
    (ceiling_file,) = folder.glob("glmsingle-tedana/sub-03/*Noiseceiling12rep_statmap.nii.gz")
    mask, ceiling = np.asarray(nib.load(mask_file).dataobj) > 0, np.asarray(nib.load(ceiling_file).dataobj)
    rows = complete.table("rois-table")
    files = list(folder.glob("rois/sub-03/*/*_mask.nii.gz"))
    assert len(rows) == len(files) == 40
    for file in files:
        inside = (np.asarray(nib.load(file).dataobj) > 0) & mask
        row = rows[re.search(r"label-([^_]+)_", file.name)[1]]
        assert (row["Voxels"], row["Category"]) == (str(inside.sum()), file.parent.name)
        values = ceiling[inside][~np.isnan(ceiling[inside])]
        assert row["Ceiling, median (%)"] == (f"{np.median(values):.1f}" if len(values) else "-")


def test_code_runs(complete: Document, dataset_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (block,) = complete.all("pre", id="code-open")
    monkeypatch.chdir(dataset_root.parent)
    names: dict = {}
    exec("".join(block.itertext()), names)
    assert names["ds"].attrs["subject"] == "sub-03"
    assert names["responses"].sizes["voxel"] > 0


def test_reads_maps_and_no_betas(tiny, tmp_path: Path, reads) -> None:
    report(tiny.root, tmp_path, subject="sub-03")
    assert reads.betas == []
    assert len(reads.maps) > 0
    report(tiny.root, tmp_path, subject="sub-03", betas=True)
    assert len(reads.betas) == len(tiny.sessions())  # each session once


def test_the_way_to_the_data_is_not_shown(tiny_copy, tmp_path: Path) -> None:
    tiny_copy.betas_file("ses-02").unlink()
    tiny_copy.metadata_file.write_text("wrong\n1\n")
    found = report(tiny_copy.root, tmp_path, subject="sub-03")
    assert any("laion/stimuli/task-images_metadata.csv" in problem for problem in found.problems)
    assert str(tmp_path) not in found.text


def test_half_downloaded(tiny_copy, tmp_path: Path) -> None:
    """No ROIs, ceilings, anatomy or stimuli: what is left is shown, and what is missing is said."""
    for file in tiny_copy.root.rglob("*"):
        if file.is_file() and re.search(r"/rois/|Noiseceiling|/stimuli/|/anatomical/", str(file)):
            file.unlink()
    found = report(tiny_copy.root, tmp_path, subject="sub-03")
    assert [s.attrib["id"] for s in found.all("section")] == [s for s in SECTIONS if s != "betas"]
    assert "noise ceilings, which is not here" in found.words(found.section("ceiling"))
    assert "no ROI is here" in found.words(found.section("rois"))
    assert found.table("sessions-table")["ses-01"]["Trials"] == "14"
    assert found.table("stimuli-table")["Metadata"]["State"] == "missing"
    assert found.table("maps-table")["Brain mask"]["State"] == "missing"
    assert 'mask_source="rsquare"' in found.words(found.section("python"))
    assert len(found.section("r2").findall(f".//{NAMESPACE}img")) == 2  # the R2 is here


def test_without_betas_the_files_are_still_shown(tiny_copy, tmp_path: Path) -> None:
    for session in tiny_copy.sessions():
        tiny_copy.betas_file(session).unlink()
        tiny_copy.model_file(session).unlink(missing_ok=True)
    found = report(tiny_copy.root, tmp_path, subject="sub-03")
    assert any("cannot be opened as a Dataset" in problem for problem in found.problems)
    assert found.table("sessions-table")["ses-02"]["Trials"] == "17"
    assert found.table("rois-table")["FFA1"]["Category"] == "face"
    assert "needs the subject as a Dataset" in found.words(found.section("ceiling"))


def test_one_session_and_a_gap(tiny_copy, tmp_path: Path) -> None:
    for name in ("ses-01", "ses-02"):
        for file in tiny_copy.folder("sub-03", name).iterdir():
            file.unlink()
    found = report(tiny_copy.root, tmp_path, subject="sub-03")
    rows = found.table("sessions-table")
    assert rows["ses-03"]["Trials"] == "15"
    assert rows["ses-01"]["Missing files"] == "everything"


def test_remote_root(tiny_in_memory: str, tmp_path: Path) -> None:
    found = report(tiny_in_memory, tmp_path, subject="sub-01")
    assert found.table("sessions-table")["ses-02"]["Trials"] == "13"
    assert "memory://laion-test" in found.words(found.all("header")[0])


def test_dataset_as_it_is_selected(tiny, tmp_path: Path) -> None:
    ds = xr.open_dataset(tiny.root, engine="laion_fmri", subject="sub-03")
    part = ds.sel(roi="FFA1", session="ses-02")
    found = report(part, tmp_path, sections=["rois", "sessions", "overview"])
    assert [s.attrib["id"] for s in found.all("section")] == ["overview", "sessions", "rois"]
    assert found.table("rois-table")["FFA1"]["Voxels"] == str(tiny.members("FFA1").sum())
    assert found.table("rois-table")["EBA"]["Voxels"] == str((tiny.members("EBA") & tiny.members("FFA1")).sum())


def test_dataset_that_has_lost_its_root(tiny_copy, tmp_path: Path) -> None:
    ds = xr.open_dataset(tiny_copy.root, engine="laion_fmri", subject="sub-03").load()
    tiny_copy.root.rename(tmp_path / "elsewhere")
    found = report(ds, tmp_path)
    assert any("files are not known" in problem for problem in found.problems)
    assert found.table("sessions-table")["ses-03"]["Trials"] == "15"


ATTACK = "<script>alert(1)</script>\"'&{{7*7}}"


def test_names_from_files_are_text_and_not_markup(tiny_copy, tmp_path: Path) -> None:
    table = tiny_copy.metadata.copy()
    table["dataset"] = ATTACK
    table.to_csv(tiny_copy.metadata_file, index=False)
    old = tiny_copy.roi_file("face", "FFA1")
    old.rename(tiny_copy.roi_file("face", "<img src=x onerror=alert(2)>"))
    found = report(tiny_copy.root, tmp_path, subject="sub-03")
    assert ATTACK in found.table("collections-table")
    assert "<img src=x onerror=alert(2)>" in found.table("rois-table")
    assert len(found.all("script")) == 1
    assert all("onerror" not in e.attrib for e in found.root.iter())
    assert "alert" not in found.words(found.all("script")[0])


def test_every_kind_of_text_is_escaped() -> None:
    table = Table("t", ATTACK, [Column(ATTACK)], [[Cell(ATTACK, ATTACK)]], filter=ATTACK)
    page = Page(ATTACK, ATTACK, False, [Section("s", ATTACK, ATTACK, ATTACK, [table, Note(ATTACK)])], ATTACK)
    found = Document(render(page))
    assert len(found.all("script")) == 1
    assert found.text.count("49") == render(Page("", "", False, [], "")).count("49")
    (cell,) = [e for e in found.root.iter() if e.attrib.get("data-value") == ATTACK]
    assert found.words(cell) == ATTACK


def test_credentials_are_not_shown() -> None:
    from laion_xr.location import Location  # noqa: PLC0415 - of this test only
    from laion_xr.report.subject import Source  # noqa: PLC0415 - of this test only

    location = Location("https://me:secret@host.org/data?X-Amz-Signature=abcdef")
    source = Source("sub-01", location, None, None)
    assert source.root_name == "https://host.org/data"
    text = f"{location.url}/file.nii.gz did not answer; see https://you:word@else.org/x?token=t now."
    assert not {"secret", "abcdef", "word", "token=t"} & set(re.split(r"[:/@?&=\s]", source.public(text)))


def test_a_part_that_fails_leaves_the_others(tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("nobody expected that")

    monkeypatch.setattr("laion_xr.report.brain.slices", broken)
    found = report(tiny.root, tmp_path, subject="sub-03")
    assert found.problems == [
        f"A part of {title!r} could not be made (ZeroDivisionError: nobody expected that). Please report this."
        for title in ("Noise ceiling", "Variance explained")
    ]


def test_never_half_a_file(tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "report.html"
    path.write_text("of before")

    def full(*_: object, **__: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="no space left"):
        write_report(tiny.root, path, subject="sub-03", sections="python", progress=False)
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]
    assert path.read_text() == "of before"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"output": "report.pdf"}, "A report is an .html file, found 'report.pdf'"),
        ({"output": "nowhere/report.html"}, "does not exist: make it first"),
        ({"sections": ["roi"]}, "Did you mean 'rois'"),
        ({"sections": []}, "names no section"),
        ({"sections": "betas"}, "betas=True"),
    ],
)
def test_bad_arguments(tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict, message: str) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(build_module, "source_of", lambda *_: pytest.fail("looked at the data first"))
    with pytest.raises(SelectionError, match=re.escape(message)):
        write_report(tiny.root, **({"output": "report.html", "subject": "sub-03"} | options))
    assert list(tmp_path.iterdir()) == []


def test_bad_objects(tiny, tmp_path: Path) -> None:
    output = tmp_path / "report.html"
    ds = xr.open_dataset(tiny.root, engine="laion_fmri", subject="sub-03")
    for obj, options, message in [
        (ds.betas, {}, "found a DataArray"),
        (ds, {"subject": "sub-01"}, "goes with a root"),
        (xr.Dataset(), {}, "found no attributes"),
        (tiny.root / "nothing", {}, "nothing"),
        (tiny.root, {}, "sub-01"),
    ]:
        with pytest.raises(LaionXRError, match=message):
            write_report(obj, output, progress=False, **options)
    with pytest.raises(SubjectNotFoundError):
        write_report(tiny.root, output, subject="sub-09", progress=False)
    assert not output.exists()


def test_progress_names_sections(tiny, tmp_path: Path) -> None:
    said: list[str] = []
    chosen = ["overview", "python"]
    write_report(tiny.root, tmp_path / "r.html", subject="sub-03", sections=chosen, progress=said.append)
    assert said == chosen


def test_warnings_of_the_opening_are_notes(tiny_copy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = xr.open_dataset

    def warning(*arguments, **options):
        import warnings  # noqa: PLC0415 - of this test only

        warnings.warn("half of it is missing", IncompleteDataWarning, stacklevel=2)
        return opened(*arguments, **options)

    monkeypatch.setattr("laion_xr.report.subject.xr", SimpleNamespace(**(vars(xr) | {"open_dataset": warning})))
    assert report(tiny_copy.root, tmp_path, subject="sub-03", sections="overview").problems == ["half of it is missing"]


def test_command_line(tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["report", str(tiny.root), "3", "--section", "overview,rois"])
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith("sub-03.html: ")
    found = Document((tmp_path / "sub-03.html").read_text("utf-8"))
    assert [s.attrib["id"] for s in found.all("section")] == ["overview", "rois"]
    result = CliRunner().invoke(app, ["report", str(tiny.root), "sub-03", "-o", "r.html", "--json"])
    assert f'"size": {(tmp_path / "r.html").stat().st_size}' in result.stdout
    for arguments, message in [((), "sub-01"), (("sub-03", "-o", "r.txt"), ".html"), (("sub-77",), "sub-77")]:
        result = CliRunner().invoke(app, ["report", str(tiny.root), *arguments])
        assert result.exit_code == 1
        assert result.stderr.startswith("Error: ")
        assert message in result.stderr


def test_is_there_by_name() -> None:
    assert laion_xr.write_report is write_report
