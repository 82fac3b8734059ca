"use strict";
// Totals, time by stage, failures, odd files, and histograms that follow the filters of the table.
msnet.overview = (() => {
  const { element, number, duration, bytes } = msnet;
  const LISTED = 50;
  const BINS = 24;
  const NUMBERS = {
    seconds: "length (s)", fps: "frame rate (fps)", motion: "motion energy (cells/s)", confidence: "confidence",
    change: "feature change", boundaries: "boundaries",
  };
  const measured = () => Object.keys(NUMBERS).filter((name) => msnet.data.columns[name]);
  const figures = new Map();
  let timer = 0;

  const at = (id) => document.getElementById(id);

  function begin() {
    const { data } = msnet;
    document.title = `${data.store}: features`;
    at("title").textContent = data.store;
    at("what").textContent = `${data.configuration}; videos from ${data.dataset}; page of ${data.made}`;
    const { totals } = data;
    const cards = [
      ["videos", number(totals.videos)], ["done", number(totals.done)], ["failed", number(totals.failed)],
      ["staged", totals.staged ? number(totals.staged) : ""], ["left", totals.left ? number(totals.left) : ""],
      ["clips", number(totals.clips)], ["length", duration(totals.seconds)], ["store", bytes(totals.bytes)],
    ];
    at("totals").append(...cards.filter(([, value]) => value !== "")
      .map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value))));
    at("notes").append(...data.notes.map((note) => element("li", {}, note)));
    at("distributions").open = innerWidth >= 700; // in narrow windows they would push the table far down
    at("distributions").addEventListener("toggle", draw); // a hidden plot has no width to fit
    failures();
    odd();
    times();
    msnet.plots().then(draw, () => at("histograms").replaceChildren("plotly.min.js is missing from the page's folder"));
  }

  function failures() {
    const { data } = msnet;
    const classes = new Map();
    data.columns.status.forEach((status, row) => {
      if (row >= data.done && data.messages[row]) {
        if (!classes.has(status)) classes.set(status, []);
        classes.get(status).push(row);
      }
    });
    if (!classes.size) at("failures").append(element("p", { className: "quiet" }, "None."));
    for (const [status, rows] of [...classes].sort((a, b) => b[1].length - a[1].length)) {
      const name = data.statuses[status];
      at("failures").append(element("details", {},
        element("summary", {}, `${name}: ${number(rows.length)}`),
        element("button", { className: "plain", onclick: () => msnet.table.only({ status: name }) }, "show in the table"),
        element("ul", {}, ...rows.slice(0, LISTED).map((row) => element("li", {},
          element("b", {}, ...msnet.breakable(data.columns.id[row])), ` ${data.messages[row]}`))),
        rows.length > LISTED ? element("p", { className: "quiet" }, `and ${number(rows.length - LISTED)} more`) : null));
    }
  }

  function odd() {
    const { data } = msnet;
    const counts = data.flags.map(() => 0);
    data.columns.flags.forEach((flags) => flags.forEach((flag) => { counts[flag] += 1; }));
    const rows = data.flags.map((flag, n) => element("tr", {},
      element("td", {}, flag, data.meanings[n] ? element("div", { className: "quiet" }, data.meanings[n]) : null), element("td", {}, number(counts[n])),
      element("td", {}, element("button", { className: "plain", onclick: () => msnet.table.only({ flag }) }, "show"))));
    at("odd").append(rows.length ? element("table", {}, element("tbody", {}, ...rows))
      : element("p", { className: "quiet" }, "None: no flags, no made-up times, no damaged frames."));
    const decoders = Object.entries(data.decoders).map(([name, count]) => `${name}: ${number(count)}`).join(", ");
    if (decoders) at("odd").append(element("p", { className: "quiet" }, `Decoded by ${decoders}.`));
  }

  function times() {
    const { runs } = msnet.data;
    if (!runs.length) {
      at("time").append(element("p", { className: "quiet" }, "No run has left its times in this store: it was made by an "
        + "earlier version, or its runs were killed before they ended."));
      return;
    }
    const sum = (name) => runs.reduce((total, run) => total + run[name], 0);
    const stages = ["decode", "transform", "network", "write", "waiting"].map((stage) => [stage, sum(stage)]);
    const largest = Math.max(...stages.map(([, seconds]) => seconds), 1e-9);
    const rows = stages.map(([stage, seconds]) => {
      const bar = element("div");
      bar.style.width = `${(100 * seconds) / largest}%`;
      return element("tr", {}, element("td", {}, stage), element("td", {}, duration(seconds)),
        element("td", {}, element("div", { className: "bar", ariaHidden: "true" }, bar)));
    });
    at("time").append(element("table", { className: "lines" }, element("tbody", {}, ...rows)),
      element("p", { className: "quiet" }, `Summed over the workers of ${number(runs.length)} run${runs.length > 1 ? "s" : ""}, `
        + `which took ${duration(sum("wall_seconds"))} for ${number(sum("frames"))} frames; waiting is of devices without frames.`));
  }

  // Bins of equal width over all values; of whole numbers, each bin is around one or some of them.
  function binned(values) {
    const there = values.filter((value) => value !== null);
    const low = there.reduce((least, value) => Math.min(least, value), Infinity);
    const high = there.reduce((most, value) => Math.max(most, value), -Infinity);
    if (there.every(Number.isInteger)) {
      const width = Math.max(1, Math.ceil((high - low + 1) / BINS));
      return { low: low - 0.5, width, bins: Math.ceil((high - low + 1) / width) || 1, there };
    }
    return { low, width: high > low ? (high - low) / BINS : 1, bins: high > low ? BINS : 1, there };
  }

  function counts({ low, width, bins }, values, rows) {
    const found = new Array(bins).fill(0);
    for (const row of rows) {
      const value = values[row];
      if (value !== null) found[Math.min(bins - 1, Math.floor((value - low) / width))] += 1;
    }
    return found;
  }

  // As wide as some bins at least: a single one would fill the figure.
  function shownRange({ low, width, bins }) {
    const room = (Math.max(0, 7 - bins) / 2) * width;
    return [low - room, low + bins * width + room];
  }

  function draw() {
    if (!window.Plotly || !at("distributions").open) return;
    for (const name of measured()) {
      const values = msnet.data.columns[name];
      const scale = binned(values);
      if (!scale.there.length) continue;
      if (!figures.has(name)) figures.set(name, figureOf(name, scale));
      const plot = figures.get(name);
      const centres = [...Array(scale.bins).keys()].map((n) => scale.low + (n + 0.5) * scale.width);
      const bars = (rows, tone) => ({
        type: "bar", x: centres, y: counts(scale, values, rows), marker: { color: msnet.colour(tone) },
        hovertemplate: "%{y}<extra></extra>", width: centres.map(() => scale.width * 0.92),
      });
      Plotly.react(plot, [bars(values.keys(), "all"), bars(msnet.table.rows(), "change")], msnet.plotLayout((axis) => ({
        barmode: "overlay", margin: { l: 34, r: 4, t: 4, b: 20 }, hovermode: "x",
        xaxis: { ...axis, showgrid: false, nticks: 6, range: shownRange(scale) }, yaxis: { ...axis, nticks: 4, rangemode: "tozero" },
      })), msnet.plotOptions);
    }
  }

  function figureOf(name, scale) {
    const sorted = Float64Array.from(scale.there).sort();
    const half = sorted.length >> 1;
    const middle = sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
    const spoken = `median ${number(middle)}, ${number(sorted[0])} to ${number(sorted[sorted.length - 1])}`;
    const plot = element("div", { className: "plot", role: "img", ariaLabel: `Histogram of ${NUMBERS[name]}: ${spoken}` });
    at("histograms").append(element("figure", {},
      element("figcaption", {}, `${NUMBERS[name]} `, element("span", {}, spoken)), plot));
    Plotly.newPlot(plot, [], {}, msnet.plotOptions).then(() => plot.on("plotly_click", ({ points }) => {
      const bin = points[0].pointIndex;
      msnet.table.range(name, scale.low + bin * scale.width, scale.low + (bin + 1) * scale.width);
    }));
    return plot;
  }

  // Filters were changed: histograms follow once the typing pauses.
  function follow() {
    clearTimeout(timer);
    timer = setTimeout(draw, 150);
  }

  return { begin, draw, follow, NUMBERS, measured };
})();
