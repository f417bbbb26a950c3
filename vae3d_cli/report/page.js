"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
// Told apart by most people, in print too (Okabe and Ito, "Color Universal Design", 2008).
const COLORS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];
const colorOf = (index) => COLORS[index % COLORS.length];
const PLOT = { height: 280, left: 56, right: 12, top: 12, bottom: 28 };
const VIDEO_HEIGHT = 240;
const DIFFERENCE = `difference x${data.gain}`;

function make(name, attributes = {}, ...children) {
  const inSvg = ["svg", "path", "line", "circle", "text", "rect", "g"].includes(name);
  const element = inSvg ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value !== null) element.setAttribute(key, value);
  }
  element.append(...children);
  return element;
}

const isShare = (metric) => metric.includes("ssim") || metric.includes("lpips");

const unitOf = (metric) => (metric.startsWith("psnr") ? " dB" : "");

function format(metric, value, unit = unitOf(metric)) {
  if (value === null || value === undefined) return "–";
  return (isShare(metric) ? value.toFixed(4) : value.toFixed(2)) + unit;
}

const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

// The table of all runs.

function summary() {
  const metrics = data.metrics.filter(({ name }) => runsOf(data.clips).some((run) => name in run.figures));
  const columns = [
    ...metrics.flatMap(({ name, title }) => [
      [title + unitOf(name), (run) => run.figures[name], (value) => format(name, value, "")],
      ...(name === "psnr" ? [["worst", (run) => run.figures["psnr.min"], (value) => format(name, value, "")]] : []),
    ]),
    ["bits per pixel", (run) => run.bitsPerPixel, (value) => value.toFixed(2)],
    ["frames/s", (run) => run.framesPerSecond, (value) => value.toFixed(1)],
  ];
  const cells = (runs) => columns.map(([, of, text]) => {
    const values = runs.map(of).filter((value) => value !== undefined && value !== null);
    return make("td", {}, values.length === runs.length ? text(mean(values)) : "–");
  });
  const rows = data.clips.flatMap((clip) => clip.runs.map((run) => make("tr", {},
    make("td", { class: "name" }, clip.input), make("td", { class: "name" }, run.model), ...cells([run]))));
  for (const model of new Set(runsOf(data.clips).map((run) => run.model))) {
    const runs = runsOf(data.clips).filter((run) => run.model === model);
    if (runs.length > 1) {
      rows.push(make("tr", { class: "mean" }, make("td", { class: "name" }, `mean of ${runs.length} clips`),
        make("td", { class: "name" }, model), ...cells(runs)));
    }
  }
  const head = make("tr", {}, make("th", { class: "name" }, "clip"), make("th", { class: "name" }, "model"),
    ...columns.map(([title]) => make("th", {}, title)));
  const table = make("table", { id: "summary" }, make("thead", {}, head), make("tbody", {}, ...rows));
  return make("div", { class: "scroll" }, table);
}

// The gates of all runs, the missed ones first.

function gates() {
  const all = data.clips.flatMap((clip) => clip.runs.flatMap((run) => (
    run.gates.map((gate) => ({ clip, run, ...gate })))));
  if (!all.length) return [];
  const missed = all.filter(({ passed }) => !passed);
  const rows = [...missed, ...all.filter(({ passed }) => passed)].map(({ clip, run, text, passed }) => make("tr",
    { class: passed ? null : "missed" }, make("td", {}, passed ? "passed" : "missed"), make("td", {}, text),
    make("td", { class: "name" }, clip.input), make("td", { class: "name" }, run.model)));
  const title = missed.length ? `${missed.length} of ${all.length} gates missed` : "All gates passed";
  return [make("h3", {}, title), make("div", { class: "scroll" }, make("table", { id: "gates" }, ...rows))];
}

const runsOf = (clips) => clips.flatMap((clip) => clip.runs);

// The plot of every frame's figures.

function ticks(low, high) {
  const rough = (high - low) / 6;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
  const result = [];
  for (let tick = Math.ceil(low / step) * step; tick <= high + step * 1e-6; tick += step) result.push(tick);
  return { values: result, digits: Math.max(0, -Math.floor(Math.log10(step) + 1e-9)) };
}

function plot(clip, onFrame) {
  const names = data.metrics.filter(({ name }) => clip.runs.some((run) => name in run.values));
  const holder = make("div", { class: "plot" });
  const choice = make("select", { "aria-label": "measure", onchange: () => draw() },
    ...names.map(({ name, title }) => make("option", { value: name }, title)));
  const keys = clip.runs.map((run, index) => make("span", { class: "key" },
    make("i", { style: `background:${colorOf(index)}` }), run.model));
  let width = 0; // in CSS pixels, so that letters keep their size
  const draw = () => holder.replaceChildren(...lines(clip, choice.value, onFrame, width));
  new ResizeObserver(() => {
    if (width === holder.clientWidth) return;
    width = holder.clientWidth;
    draw();
  }).observe(holder);
  return [make("div", { class: "bar" }, choice, ...keys), holder];
}

function lines(clip, metric, onFrame, width) {
  const { height, left, right, top, bottom } = PLOT;
  const numFrames = clip.seconds.length;
  const known = clip.runs.flatMap((run) => run.values[metric] ?? []).filter((value) => value !== null);
  let low = Math.min(...bounds(known)), high = Math.max(...bounds(known));
  const margin = Math.max((high - low) * 0.06, isShare(metric) ? 0.001 : 0.1);
  [low, high] = [low - margin, high + margin];
  const x = (frame) => left + (width - left - right) * (numFrames > 1 ? frame / (numFrames - 1) : 0.5);
  const y = (value) => height - bottom - (height - top - bottom) * (value - low) / (high - low);
  const drawing = make("svg", { viewBox: `0 0 ${width} ${height}`, tabindex: 0, role: "img",
    "aria-label": `${metric} of every frame; the arrow keys go from frame to frame` });
  const scale = ticks(low, high);
  for (const tick of scale.values) {
    drawing.append(make("line", { class: "grid", x1: left, x2: width - right, y1: y(tick), y2: y(tick) }),
      make("text", { x: left - 8, y: y(tick) + 4, "text-anchor": "end" }, tick.toFixed(scale.digits)));
  }
  const whole = [...new Set(ticks(0, Math.max(numFrames - 1, 1)).values.map(Math.round))].filter((n) => n < numFrames);
  for (const frame of whole) {
    drawing.append(make("text", { x: x(frame), y: height - 8, "text-anchor": "middle" }, frame));
  }
  clip.runs.forEach((run, index) => {
    const color = colorOf(index);
    const values = run.values[metric];
    if (!values) return;
    let path = "", isDrawing = false;
    values.forEach((value, frame) => {
      if (value !== null) path += `${isDrawing ? "L" : "M"}${x(frame).toFixed(1)} ${y(value).toFixed(1)}`;
      isDrawing = value !== null;
    });
    const worst = run.worst[metric];
    drawing.append(make("path", { d: path, stroke: color }),
      make("circle", { cx: x(worst), cy: y(values[worst]), r: 4, fill: color }));
  });
  return [drawing, pointer(clip, metric, drawing, width, x, y, onFrame)];
}

// Not by `Math.min(...values)`, which a clip of a hundred thousand frames would be too long for.
const bounds = (values) => [values.reduce((a, b) => Math.min(a, b)), values.reduce((a, b) => Math.max(a, b))];

function pointer(clip, metric, drawing, width, x, y, onFrame) {
  const { height, left, right, top, bottom } = PLOT;
  const last = clip.seconds.length - 1;
  const cursor = make("line", { class: "cursor", y1: top, y2: height - bottom, visibility: "hidden" });
  const dots = clip.runs.map((_, index) => make("circle", { r: 4, fill: colorOf(index), visibility: "hidden" }));
  const tip = make("div", { class: "tip", hidden: "" });
  drawing.append(cursor, ...dots);
  let current = 0;
  const show = (frame) => {
    current = frame;
    for (const name of ["x1", "x2"]) cursor.setAttribute(name, x(frame));
    cursor.setAttribute("visibility", "visible");
    const rows = clip.runs.map((run, index) => {
      const value = run.values[metric]?.[frame] ?? null;
      dots[index].setAttribute("visibility", value === null ? "hidden" : "visible");
      dots[index].setAttribute("cx", x(frame));
      dots[index].setAttribute("cy", value === null ? 0 : y(value));
      return make("div", {}, clip.runs.length > 1 ? `${run.model} ${format(metric, value)}` : format(metric, value));
    });
    tip.replaceChildren(make("div", {}, `frame ${frame}, ${clip.seconds[frame].toFixed(2)} s`), ...rows);
    tip.hidden = false;
    const share = x(frame) / width * 100;
    tip.style.left = share < 50 ? `calc(${share}% + 12px)` : "";
    tip.style.right = share < 50 ? "" : `calc(${100 - share}% + 12px)`;
    onFrame(frame);
  };
  drawing.addEventListener("pointermove", (event) => {
    const at = (event.clientX - drawing.getBoundingClientRect().left - left) / (width - left - right);
    show(Math.min(last, Math.max(0, Math.round(at * last))));
  });
  drawing.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    event.preventDefault();
    show(Math.min(last, Math.max(0, current + step)));
  });
  return tip;
}

// The small videos, which show the frame under the pointer.

function videos(clip) {
  const { width, height, enlarged } = clip.shown;
  const [videoWidth, videoHeight] = [2 * width, height].map((side) => side * Math.min(1, VIDEO_HEIGHT / height));
  const attributes = { muted: "", loop: "", playsinline: "", preload: "auto", class: enlarged ? "enlarged" : null,
    style: `width: ${videoWidth}px; aspect-ratio: ${videoWidth} / ${videoHeight}` };
  const players = clip.runs.map((run) => make("video", { src: run.video, ...attributes }));
  const play = make("button", { onclick: () => {
    const starts = players[0].paused;
    players.forEach((player) => (starts ? player.play() : player.pause()));
    play.textContent = starts ? "Pause" : "Play";
  } }, "Play");
  const seek = (frame) => {
    const next = clip.seconds[frame + 1] ?? clip.seconds[frame] + 0.01;
    play.textContent = "Play";
    for (const player of players) {
      player.pause();
      // Between two frames: at the very time of one, rounding may show the one before.
      player.currentTime = (clip.seconds[frame] + next) / 2;
    }
  };
  const figures = clip.runs.map((run, index) => make("figure", {}, players[index],
    make("figcaption", {}, `original | ${run.model}`)));
  return [[make("div", { class: "bar" }, play), make("div", { class: "videos" }, ...figures)], seek];
}

// Two pictures of a frame, one over the other.

function comparison(clip) {
  const sources = [{ label: "original", of: (number) => clip.originals[number] }];
  for (const run of clip.runs) {
    const name = clip.runs.length > 1 ? `, ${run.model}` : "";
    sources.push({ label: run.model, of: (number) => run.pictures[number]?.other },
      { label: DIFFERENCE + name, of: (number) => run.pictures[number]?.difference });
  }
  const state = { number: clip.frames[0].number, left: 0, right: 1 };
  const image = (side) => make("img", { class: side, alt: `${side} picture`, draggable: "false" });
  const images = { left: image("left"), right: image("right") };
  const labels = { left: make("span", { class: "left" }), right: make("span", { class: "right" }) };
  const { width, height, enlarged } = clip.shown;
  const shape = { class: `compare${enlarged ? " enlarged" : ""}`, style: `aspect-ratio: ${width} / ${height}` };
  const box = make("div", shape, images.right, images.left, make("div", { class: "edge" }),
    labels.left, labels.right);
  const slider = make("input", { type: "range", min: 0, max: 100, step: 0.1, oninput: () => split(Number(slider.value)),
    "aria-label": "where the left picture ends" });
  const split = (share) => {
    slider.value = share;
    box.style.setProperty("--split", `${share}%`);
  };
  const drag = (event) => {
    const { left, width } = box.getBoundingClientRect();
    split(Math.min(100, Math.max(0, (event.clientX - left) / width * 100)));
  };
  box.addEventListener("pointerdown", (event) => { box.setPointerCapture(event.pointerId); drag(event); });
  box.addEventListener("pointermove", (event) => { if (event.buttons) drag(event); });
  const selects = ["left", "right"].map((side) => make("select", { "aria-label": `${side} picture`,
    onchange: (event) => { state[side] = Number(event.target.value); update(); } },
    ...sources.map(({ label }, index) => make("option", { value: index }, label))));
  const buttons = clip.frames.map(({ number, label }) => make("button", { "data-frame": number,
    onclick: () => { state.number = number; update(); } }, `${label}: frame ${number}`));
  const measured = data.metrics.filter(({ name }) => clip.runs.some((run) => name in run.values));
  const values = make("tbody");
  const head = make("tr", {}, make("th", { class: "name" }, "model"),
    ...measured.map(({ name, title }) => make("th", {}, title + unitOf(name))));
  const update = () => {
    const isThere = (index) => Boolean(sources[index].of(state.number));
    if (!isThere(state.right)) state.right = sources.findIndex((_, index) => index > 0 && isThere(index));
    if (!isThere(state.left)) state.left = 0;
    ["left", "right"].forEach((side, index) => {
      images[side].src = sources[state[side]].of(state.number);
      labels[side].textContent = sources[state[side]].label;
      selects[index].value = state[side];
      for (const option of selects[index].options) option.disabled = !isThere(Number(option.value));
    });
    for (const button of buttons) button.setAttribute("aria-pressed", Number(button.dataset.frame) === state.number);
    values.replaceChildren(...clip.runs.map((run) => make("tr", {}, make("td", { class: "name" }, run.model),
      ...measured.map(({ name }) => make("td", {}, format(name, run.values[name]?.[state.number], ""))))));
  };
  split(50);
  update();
  return [make("div", { class: "bar" }, ...buttons), make("div", { class: "bar" }, selects[0], "|", selects[1]),
    make("div", { class: "slides", style: `width: ${width}px` }, box, slider),
    make("div", { class: "scroll" }, make("table", { class: "values" }, make("thead", {}, head), values))];
}

// How latents are distributed.

function histograms(run) {
  const charts = run.histograms.map(({ least, greatest, mean: middle, std, counts }, channel) => {
    const most = Math.max(...counts);
    const bars = counts.map((count, bin) => make("rect", { x: bin, y: 40 - 40 * count / most, width: 1.02,
      height: 40 * count / most, fill: "var(--mark)" }));
    const chart = make("svg", { viewBox: `0 0 ${counts.length} 40`, preserveAspectRatio: "none", role: "img",
      "aria-label": `channel ${channel}` }, ...bars);
    return make("figure", {}, chart, make("figcaption", {}, `${channel}: ${middle.toFixed(2)} ± ${std.toFixed(2)}`,
      make("br"), `${least.toFixed(1)} to ${greatest.toFixed(1)}`));
  });
  return make("div", { class: "histograms" }, ...charts);
}

// Everything of one clip.

function facts(rows) {
  return make("table", { class: "facts" },
    ...rows.map((cells) => make("tr", {}, ...cells.map((cell) => make("td", {}, cell)))));
}

function section(clip) {
  const [players, seek] = videos(clip);
  const several = clip.runs.length > 1;
  const parts = [make("h2", {}, clip.input), make("h3", {}, "Frame by frame"), ...plot(clip, seek), ...players,
    make("h3", {}, "Frames"), ...comparison(clip)];
  for (const run of clip.runs) {
    const name = several ? ` of ${run.model}` : "";
    const absent = Object.entries(run.absent).map(([metric, reason]) => [metric, `absent: ${reason}`]);
    const figures = Object.entries(run.figures).map(([metric, value]) => [metric, format(metric, value)]);
    parts.push(make("h3", {}, `Latents${name}, by channel`),
      make("p", {}, "Mean ± standard deviation, least to greatest value."), histograms(run),
      make("h3", {}, `Settings${name}`), facts(run.facts),
      make("details", {}, make("summary", {}, `All figures${name}`), facts([...figures, ...absent])));
  }
  return make("section", {}, ...parts);
}

document.getElementById("page").append(
  make("h1", {}, "What was lost"),
  make("p", {}, `${data.software} roundtrip. Measured on 8-bit RGB before any video encoding; pictures and videos on ` +
    "this page are compressed, and made smaller where they are large."),
  summary(), ...gates(), ...data.clips.map(section));
