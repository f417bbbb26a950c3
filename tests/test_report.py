"""The report: what is kept for it, what its page holds, and how it behaves in a browser."""

import base64
import hashlib
import io
import json
import random
import re
import shutil
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image, ImageChops
from selenium.webdriver import Chrome, ChromeOptions, ChromeService, Keys
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.select import Select
from selenium.webdriver.support.wait import WebDriverWait

from tests.clips import moving_frames, read_back, write_clip
from tests.commands import assert_failed, json_lines, run, run_bytes
from vae3d_cli.latents import LatentsSpool
from vae3d_cli.report.exhibit import _Chosen
from vae3d_cli.report.histogram import NUM_BINS, channel_histograms


def choose(psnr: list[float], wanted: frozenset[int] = frozenset()) -> tuple[_Chosen, int]:
    """What is kept of frames that hold their number, and of how many at once at most."""
    chosen, most = _Chosen(wanted), 0
    for number, value in enumerate(psnr):
        frame = torch.full((3, 1, 2), number % 256, dtype=torch.uint8)
        chosen.add(frame, frame + 1, value)
        most = max(most, len(chosen._frames))
    return chosen, most


@pytest.mark.parametrize("order", [lambda values: values, sorted, lambda values: sorted(values, reverse=True)])
def test_worst_and_best_are_kept_and_one_near_the_median(order: Any) -> None:
    psnr = order(random.Random(0).sample([20 + index / 100 for index in range(2000)], 999))
    chosen, most = choose(psnr)
    labels = chosen.labels()
    ranks = {number: rank for rank, number in enumerate(sorted(range(999), key=psnr.__getitem__))}
    assert ranks[labels["worst"]] == 0
    assert ranks[labels["best"]] == 998
    assert abs(ranks[labels["median"]] - 499) <= 64  # half of what lies between those kept evenly
    assert most <= 2 + 2 + 8
    for number, (original, other) in chosen.frames().items():
        assert (original[0, 0, 0], other[0, 0, 0]) == (number % 256, (number + 1) % 256)


def test_the_frames_of_another_model_are_kept_and_the_worst_of_its_own() -> None:
    chosen, _ = choose([30.0, 31.0, 20.0, 40.0, 32.0], frozenset({1, 3}))
    assert chosen.labels() == {"worst": 2}
    assert list(chosen.frames()) == [1, 2, 3]


def test_a_single_frame_is_all_of_them() -> None:
    chosen, _ = choose([30.0])
    assert chosen.labels() == {"worst": 0, "median": 0, "best": 0}
    assert list(chosen.frames()) == [0]


@pytest.mark.parametrize(("posterior", "channels"), [("mode", 4), ("moments", 2)])
def test_histograms_are_those_of_numpy(posterior: str, channels: int) -> None:
    values = np.random.default_rng(0).normal(3, 2, (4, 5, 6, 7)).astype(np.float32)
    values[1] = 0.5
    with LatentsSpool(None, torch.float32) as spool:
        spool.append(torch.from_numpy(values[:, :2]))
        spool.append(torch.from_numpy(values[:, 2:]))
        histograms = channel_histograms(spool, posterior)
    assert len(histograms) == channels
    for channel, histogram in enumerate(histograms):
        own = values[channel].astype(np.float64)
        assert (histogram.least, histogram.greatest) == (own.min(), own.max())
        np.testing.assert_allclose((histogram.mean, histogram.std), (own.mean(), own.std()), rtol=1e-9, atol=1e-9)
        assert sum(histogram.counts) == own.size
        if channel != 1:
            assert histogram.counts == np.histogram(own, NUM_BINS)[0].tolist()


def data_of(page: str) -> dict[str, Any]:
    match = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert match
    data: dict[str, Any] = json.loads(match[1])
    return data


def picture(uri: str) -> Image.Image:
    kind, data = uri.split(",")
    assert kind == "data:image/webp;base64"
    return Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")


def mean_error(image: Image.Image, frame: NDArray[Any]) -> float:
    """The mean error of the luma, since WebP has a quarter of the chroma."""
    expected = Image.fromarray(frame.astype(np.uint8)).convert("L")
    return float(np.abs(np.asarray(image.convert("L")).astype(int) - np.asarray(expected)).mean())


def test_the_page_holds_the_figures_the_frames_and_the_hashes(tmp_path: Path) -> None:
    clip, page = write_clip(tmp_path / "clip.mp4", 14, 96, 64), tmp_path / "r.html"
    result = run("roundtrip", clip, "--report", page, "--json", "--per-frame", "-o", tmp_path / "o.mkv", "--lossless")
    assert result.exit_code == 0, result.output
    (report,) = json_lines(result)
    assert report["outputs"]["report"] == str(page)  # type: ignore[index]
    (shown,) = data_of(page.read_text())["clips"]
    (of_model,) = shown["runs"]
    for name, summary in report["metrics"].items():  # type: ignore[attr-defined]
        if summary is not None:
            values, expected = (
                np.array(list_of, float) for list_of in (of_model["values"][name], summary["per_frame"])
            )
            np.testing.assert_allclose(values, expected, atol=1e-5)
            assert of_model["worst"][name] == summary["worst_frame"]
    absent = report["absent"].items()  # type: ignore[attr-defined]
    assert of_model["absent"] == {name: why for name, why in absent if "not asked for" not in why} != {}
    facts = dict(of_model["facts"])
    assert facts["input sha256"] == hashlib.sha256(clip.read_bytes()).hexdigest()
    assert facts["encoder sha256"] == report["encoder_sha256"]
    psnr = report["metrics"]["psnr"]["per_frame"]  # type: ignore[index]
    by_label = {frame["label"].split(",")[0]: frame["number"] for frame in shown["frames"]}
    assert by_label["worst"] == psnr.index(min(psnr))
    assert by_label["best"] == psnr.index(max(psnr))
    originals, others = read_back(clip)[0], read_back(tmp_path / "o.mkv")[0]
    for number in by_label.values():
        pictures = of_model["pictures"][str(number)]
        difference = np.minimum(8 * np.abs(originals[number].astype(int) - others[number]), 255)
        for uri, expected in (
            (shown["originals"][str(number)], originals[number]),
            (pictures["other"], others[number]),
            (pictures["difference"], difference),
        ):
            assert mean_error(picture(uri), expected) < 6


def test_the_page_names_the_gates_and_which_were_missed(tmp_path: Path, clip: Path) -> None:
    page = tmp_path / "r.html"
    gates = ("--fail-under", "psnr=99", "--fail-under", "ms_ssim=0", "--fail-under", "psnr.min=1")
    assert run("roundtrip", clip, "--report", page, *gates).exit_code == 3
    psnr, ms_ssim, least = data_of(page.read_text())["clips"][0]["runs"][0]["gates"]
    assert re.fullmatch(r"psnr [0-9.]+ < 99", psnr["text"])
    assert ms_ssim == {"text": "ms_ssim is absent: needs frames of at least 176x176", "passed": False}
    assert least["passed"]


def test_the_video_is_side_by_side_and_keeps_the_frame_times(tmp_path: Path) -> None:
    stamps = [0, 40, 100, 130, 200]
    clip = write_clip(tmp_path / "clip.mkv", 5, 640, 480, stamps=(Fraction(1, 1000), stamps))
    assert run("roundtrip", clip, "--report", tmp_path / "r.html").exit_code == 0
    shown = data_of((tmp_path / "r.html").read_text())["clips"][0]
    video = tmp_path / "video.mp4"
    video.write_bytes(base64.b64decode(shown["runs"][0]["video"].split(",")[1]))
    frames, times = read_back(video)
    assert [frame.shape for frame in frames] == [(240, 640, 3)] * 5
    assert [round(1000 * time) for time in times] == stamps
    assert shown["seconds"] == [stamp / 1000 for stamp in stamps]
    for frame, original in zip(frames, moving_frames(5, 640, 480), strict=True):
        small = original[:, ::2, ::2].transpose(1, 2, 0).astype(int)
        assert np.abs(frame[:, :320] - small).mean() < 12
        assert np.abs(frame[:, 320:] - small).mean() < 24


@pytest.mark.parametrize(
    ("size", "aspect", "shown"),
    [
        ((240, 240), "2/1", (480, 240, False)),
        ((240, 160), "1/3", (240, 480, False)),
        ((64, 48), None, (320, 240, True)),
        ((16, 16), None, (320, 320, True)),
        ((16, 16), "2/1", (320, 160, True)),
        ((1600, 32), None, (1280, 26, False)),
    ],
)
def test_pictures_are_shown_with_the_pixel_shape_of_the_clip_and_large_enough(
    tmp_path: Path, size: tuple[int, int], aspect: str | None, shown: tuple[int, int, bool]
) -> None:
    clip = anamorphic(tmp_path / "clip.mp4", *size, aspect)
    assert run("roundtrip", clip, "--report", tmp_path / "r.html").exit_code == 0
    data = data_of((tmp_path / "r.html").read_text())["clips"][0]
    assert tuple(data["shown"].values()) == shown


def anamorphic(path: Path, width: int, height: int, aspect: str | None) -> Path:
    options = {"x264-params": f"sar={aspect}"} if aspect else {}
    return write_clip(path, 2, width, height, options=options)


def test_models_share_frames_and_clips_share_a_page(tmp_path: Path, small_checkpoint: Path) -> None:
    clips = [write_clip(tmp_path / f"{name}.mp4", 9, 48, 32) for name in "ab"]
    page = tmp_path / "r.html"
    result = run("roundtrip", *clips, "-m", "tiny", "-m", small_checkpoint, "--report", page)
    assert result.exit_code == 0, result.output
    shown = data_of(page.read_text())["clips"]
    assert [clip["input"] for clip in shown] == [str(clip) for clip in clips]
    for clip in shown:
        first, second = clip["runs"]
        assert (first["model"], second["model"]) == ("tiny", str(small_checkpoint))
        assert set(first["pictures"]) <= set(second["pictures"]) == set(clip["originals"])
        labels = ", ".join(frame["label"] for frame in clip["frames"])
        assert all(label in labels for label in ("worst of tiny", "best of tiny", f"worst of {small_checkpoint}"))
        assert {str(frame["number"]) for frame in clip["frames"]} == set(clip["originals"])


def test_nothing_is_fetched_and_no_name_is_markup(tmp_path: Path) -> None:
    clip, page = write_clip(tmp_path / "<!--<script><b>{{ script }}.mp4"), tmp_path / "r.html"
    assert run("roundtrip", clip, "--report", page).exit_code == 0
    text = page.read_text()
    assert data_of(text)["clips"][0]["input"] == str(clip)
    assert text.count("<script") == text.count("</script>") == 2
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)|<link|@import|url\(", text)


def test_the_page_goes_to_standard_output(tmp_path: Path) -> None:
    clips = [write_clip(tmp_path / f"{name}.mp4") for name in "ab"]
    for inputs in (clips[:1], clips):
        done = run_bytes("roundtrip", *inputs, "--report", "-")
        assert done.returncode == 0
        assert len(data_of(done.stdout.decode())["clips"]) == len(inputs)
        assert b"PSNR" in done.stderr
    assert b'"outputs"' in run_bytes("roundtrip", clips[0], "--report", "-", "--json").stderr


def test_an_existing_page_is_kept(tmp_path: Path, clip: Path) -> None:
    page = tmp_path / "r.html"
    page.write_text("mine")
    assert_failed(run("roundtrip", clip, "--report", page), 1, "exists already")
    assert run("roundtrip", clip, "--report", page, "--skip-existing").exit_code == 0
    assert page.read_text() == "mine"
    assert_failed(run("roundtrip", clip, "--report", tmp_path / "no" / "r.html"), 1, "there is no folder")
    both = tmp_path / "both"
    assert_failed(
        run("roundtrip", clip, "--report", both, "--csv", both, "-f"),
        2,
        "--report and --csv would both be written to this file",
    )
    assert run("roundtrip", clip, "--report", page, "-f").exit_code == 0
    assert data_of(page.read_text())


def test_of_several_clips_those_are_reported_that_could_be_measured(tmp_path: Path, clip: Path) -> None:
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    result = run("roundtrip", tmp_path / "bad.mp4", clip, "--report", tmp_path / "r.html")
    assert result.exit_code == 1
    assert [shown["input"] for shown in data_of((tmp_path / "r.html").read_text())["clips"]] == [str(clip)]
    assert run("roundtrip", tmp_path / "bad.mp4", "--report", tmp_path / "none.html").exit_code == 1
    assert not (tmp_path / "none.html").exists()


# In a browser.


@pytest.fixture(scope="module")
def browser() -> Iterator[Chrome]:
    """A headless Chromium."""
    driver = shutil.which("chromedriver")
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if driver is None or program is None:
        pytest.skip("no Chromium with its ChromeDriver is installed")
    options = ChromeOptions()
    options.binary_location = program
    for flag in ("headless", "no-sandbox", "disable-gpu", "disable-background-networking", "window-size=1200,2400"):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    chrome = Chrome(options, ChromeService(driver))
    yield chrome
    chrome.quit()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, small_checkpoint: Path) -> Path:
    """The report of a clip of 21 frames through two models."""
    folder = tmp_path_factory.mktemp("report")
    clip, page = write_clip(folder / "clip.mp4", 21, 320, 240), folder / "r.html"
    gates = ("--fail-under", "psnr=1", "--fail-under", "ssim=1")
    assert run("roundtrip", clip, "-m", "tiny", "-m", small_checkpoint, "--report", page, *gates).exit_code == 3
    return page


@pytest.fixture
def opened(browser: Chrome, page: Path) -> Chrome:
    """The report, newly opened."""
    browser.set_window_size(1200, 2400)
    browser.get(page.as_uri())
    return browser


def hover(browser: Chrome, share: float) -> str:
    """Move the pointer to this share of the plot's width; what the plot then says."""
    plot = browser.find_element(By.CSS_SELECTOR, ".plot svg")
    width, left, right = plot.size["width"], 56, 12
    offset = left + (width - left - right) * share - width / 2
    ActionChains(browser).move_to_element_with_offset(plot, round(offset), 0).perform()
    return browser.find_element(By.CSS_SELECTOR, ".tip").text


def screenshot(element: WebElement) -> Image.Image:
    return Image.open(io.BytesIO(element.screenshot_as_png)).convert("RGB")


def test_the_page_opens_without_a_complaint(opened: Chrome) -> None:
    assert opened.get_log("browser") == []  # type: ignore[no-untyped-call]
    cells = opened.find_elements(By.CSS_SELECTOR, "#summary tbody td.name")
    assert [Path(cell.text).name for cell in cells] == ["clip.mp4", "tiny", "clip.mp4", "small.safetensors"]
    assert len(opened.find_elements(By.CSS_SELECTOR, ".histograms figure")) == 32
    gates = [row.text.split()[:2] for row in opened.find_elements(By.CSS_SELECTOR, "#gates tr")]
    assert gates == [["missed", "ssim"], ["missed", "ssim"], ["passed", "psnr"], ["passed", "psnr"]]


@pytest.mark.parametrize("width", [600, 1200])
def test_letters_keep_their_size_in_a_narrow_window(opened: Chrome, width: int) -> None:
    opened.set_window_size(width, 2400)
    script = (
        "const holder = document.querySelector('.plot'), box = holder.querySelector('svg').viewBox.baseVal;"
        f"return box.width === holder.clientWidth && box.width < {width} && box.width > {width} / 2"
    )
    WebDriverWait(opened, 20).until(lambda driver: driver.execute_script(script))


def test_the_plot_says_what_is_under_the_pointer(opened: Chrome, page: Path) -> None:
    clip = data_of(page.read_text())["clips"][0]
    values = [run["values"] for run in clip["runs"]]
    for share, number in ((0.0, 0), (0.5, 10), (1.0, 20)):
        expected = [f"{run['model']} {run['values']['psnr'][number]:.2f} dB" for run in clip["runs"]]
        assert hover(opened, share).split("\n") == [f"frame {number}, {clip['seconds'][number]:.2f} s", *expected]
    plot = opened.find_element(By.CSS_SELECTOR, ".plot svg")
    plot.send_keys(Keys.ARROW_LEFT, Keys.ARROW_LEFT)
    assert "frame 18," in opened.find_element(By.CSS_SELECTOR, ".tip").text
    Select(opened.find_element(By.CSS_SELECTOR, "select")).select_by_visible_text("SSIM")
    assert f"tiny {values[0]['ssim'][10]:.4f}" in hover(opened, 0.5)


def test_the_videos_show_the_frame_under_the_pointer(opened: Chrome, page: Path, tmp_path: Path) -> None:
    clip = data_of(page.read_text())["clips"][0]
    video = tmp_path / "video.mp4"
    video.write_bytes(base64.b64decode(clip["runs"][0]["video"].split(",")[1]))
    frames, _ = read_back(video)
    WebDriverWait(opened, 20).until(lambda driver: ready(driver))
    for share, number in ((0.5, 10), (0.2, 4)):
        hover(opened, share)
        WebDriverWait(opened, 20).until(lambda driver: ready(driver))
        player = opened.find_element(By.CSS_SELECTOR, "video")
        drawn = np.asarray(screenshot(player).resize((640, 240))).astype(int)
        errors = [np.abs(drawn - frame).mean() for frame in frames]
        assert int(np.argmin(errors)) == number


def ready(browser: Chrome) -> bool:
    """Whether all videos show the frame that they were sent to."""
    script = "return [...document.querySelectorAll('video')].every(v => v.readyState >= 2 && !v.seeking)"
    return bool(browser.execute_script(script))


def test_the_slider_moves_the_border_between_two_pictures(opened: Chrome) -> None:
    box = opened.find_element(By.CSS_SELECTOR, ".compare")
    slider = opened.find_element(By.CSS_SELECTOR, "input[type=range]")
    opened.execute_script("for (const label of document.querySelectorAll('.compare span')) label.remove()")
    left, right = (
        Select(opened.find_elements(By.CSS_SELECTOR, ".bar select")[1]),
        Select(opened.find_elements(By.CSS_SELECTOR, ".bar select")[2]),
    )
    difference = right.options[4].text
    assert difference.startswith("difference x8, ")
    right.select_by_visible_text(difference)
    slider.send_keys(Keys.HOME)
    only_right = screenshot(box)
    slider.send_keys(Keys.END)
    only_left = screenshot(box)
    ActionChains(opened).move_to_element(slider).click().perform()
    half = screenshot(box)
    middle, height = half.width // 2, half.height
    for part, whole in (((8, 0, middle - 8, height), only_left), ((middle + 8, 0, half.width - 8, height), only_right)):
        assert ImageChops.difference(half.crop(part), whole.crop(part)).getbbox() is None
    assert ImageChops.difference(only_left, only_right).getbbox() is not None
    left.select_by_visible_text(difference)
    slider.send_keys(Keys.END)
    strip = (8, 0, half.width - 8, height)
    assert ImageChops.difference(screenshot(box).crop(strip), only_right.crop(strip)).getbbox() is None
    ActionChains(opened).move_to_element_with_offset(box, 0, 0).click_and_hold().move_by_offset(
        -40, 0
    ).release().perform()
    assert 0 < float(slider.get_attribute("value") or 0) < 50


@pytest.mark.parametrize(
    ("size", "aspect", "box", "video"),
    [
        ((240, 240), "2/1", (480, 240), (960, 240)),
        ((64, 48), None, (320, 240), (640, 240)),
        ((16, 16), None, (320, 320), (480, 240)),
    ],
)
def test_both_pictures_and_the_slider_have_the_size_that_is_shown(
    browser: Chrome,
    tmp_path: Path,
    size: tuple[int, int],
    aspect: str | None,
    box: tuple[int, int],
    video: tuple[int, int],
) -> None:
    clip = anamorphic(tmp_path / "clip.mp4", *size, aspect)
    assert run("roundtrip", clip, "--report", tmp_path / "r.html").exit_code == 0
    browser.set_window_size(1200, 2400)
    browser.get((tmp_path / "r.html").as_uri())

    def size_of(selector: str) -> tuple[int, int]:
        element = browser.find_element(By.CSS_SELECTOR, selector)
        return element.size["width"], element.size["height"]

    for selector in (".compare", ".compare img.left", ".compare img.right"):
        assert size_of(selector) == box
    assert size_of("input[type=range]")[0] == box[0]
    assert size_of("video") == video


def test_the_buttons_choose_the_frame(opened: Chrome, page: Path) -> None:
    clip = data_of(page.read_text())["clips"][0]
    for button in opened.find_elements(By.CSS_SELECTOR, "button[data-frame]"):
        button.click()
        number = button.get_attribute("data-frame") or ""
        assert button.get_attribute("aria-pressed") == "true"
        image = opened.find_element(By.CSS_SELECTOR, ".compare img.left")
        assert image.get_attribute("src") == clip["originals"][number]
        values = opened.find_elements(By.CSS_SELECTOR, ".values tbody tr:first-child td")
        assert [cell.text for cell in values][:2] == ["tiny", f"{clip['runs'][0]['values']['psnr'][int(number)]:.2f}"]
        if number not in clip["runs"][0]["pictures"]:  # the worst of the other model alone
            choice = Select(opened.find_elements(By.CSS_SELECTOR, ".bar select")[2])
            assert choice.first_selected_option.text == clip["runs"][1]["model"]
            assert not choice.options[1].is_enabled()
