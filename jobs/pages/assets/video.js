"use strict";
// One video: frames that play in step with a time line of motion, change, boundaries and annotations.
msnet.video = (() => {
  const { element, number } = msnet;
  const LINES = 200; // boundaries drawn through the curves; of more, only the marks below
  let row = null;
  let opening = 0;
  let player = null;
  let plot = null;
  let curves = null;
  let from = null;
  let moment = 0; // that is shown, in seconds

  const at = (id) => document.getElementById(id);
  const asked = () => {
    const found = /^#video=(\d{1,9})$/.exec(location.hash);
    return found && Number(found[1]) < msnet.data.columns.id.length ? Number(found[1]) : null;
  };

  function begin() {
    addEventListener("hashchange", follow);
    addEventListener("keydown", pressed);
    follow();
  }

  function follow() {
    if (player) player.pause();
    const before = row;
    row = asked();
    [player, plot, curves, moment] = [null, null, null, 0];
    at("overview").hidden = row !== null;
    at("video").hidden = row === null;
    if (row === null) {
      at("video").replaceChildren();
      if (from !== null) scrollTo(0, from);
      const link = before === null ? null : document.querySelector(`a[href="#video=${before}"]`);
      if (link) link.focus({ preventScroll: true });
      msnet.overview.draw(); // a hidden plot has no width to fit
      return;
    }
    if (before === null) from = scrollY;
    open(row).catch((error) => {
      at("video").append(element("p", { className: "failed" }, `This video cannot be shown: ${error.message}.`));
    });
  }

  async function open(wanted) {
    const { data } = msnet;
    const { columns } = data;
    opening += 1;
    const mine = opening;
    const view = element("div", { className: "view" });
    const title = element("h1", { tabIndex: -1 }, ...msnet.breakable(columns.id[wanted]));
    at("video").replaceChildren(steps(wanted), title, facts(wanted), view);
    scrollTo(0, 0);
    title.focus({ preventScroll: true });
    if (wanted >= data.done) {
      view.append(element("p", {}, data.messages[wanted] || "It is not extracted yet."));
      return;
    }
    const block = Math.floor(wanted / data.block);
    const of = (await msnet.load(`curves-${block}`))[wanted % data.block];
    const pictures = data.pictured.includes(wanted) ? await msnet.load(`pictures-${wanted}`) : null;
    await msnet.plots();
    if (mine !== opening || row !== wanted) return;
    curves = of;
    if (!pictures) view.append(element("p", { className: "quiet" }, "No pictures were made of this video (see the notes on the first page)."));
    else if (pictures.missing) view.append(element("p", { className: "failed" }, `No frames: ${pictures.missing}`));
    if (pictures) {
      const made = await msnet.player.make(pictures, tell);
      if (mine !== opening) return;
      if (pictures.frames || pictures.displacement) {
        player = made;
        view.className = "view pictured";
        view.append(player.node);
      }
      msnet.forget(`pictures-${wanted}`); // they are large, and quickly read again
    }
    plot = element("div", { className: "timeline", role: "img", ariaLabel: "Time line of motion energy, feature change and boundaries" });
    view.append(element("div", {}, plot, element("p", { className: "quiet" }, player
      ? "Space plays and pauses, the arrow keys step, a click on the time line goes there, Escape goes back." : "")));
    draw();
    if (player) player.show(0);
  }

  function steps(wanted) {
    const found = msnet.table.rows();
    const here = found.indexOf(wanted);
    const turn = (to, label) => (to === undefined || here < 0 ? null : element("a", { href: `#video=${to}` }, label));
    return element("nav", { className: "back", ariaLabel: "Videos" }, element("a", { href: "#" }, "All videos"),
      turn(found[here - 1], "Previous"), turn(found[here + 1], "Next"),
      here < 0 ? null : element("span", { className: "quiet" }, `${number(here + 1)} of ${number(found.length)}`));
  }

  function facts(wanted) {
    const { columns, statuses, flags, meanings, done, why } = msnet.data;
    if (wanted >= done) return element("p", { className: "failed" }, statuses[columns.status[wanted]]);
    const of = (name, digits, before, after) => (columns[name] && columns[name][wanted] !== null
      ? `${before}${number(columns[name][wanted], digits)}${after}` : null);
    const odd = columns.flags[wanted].map((flag) => flags[flag] + (meanings[flag] ? ` (${meanings[flag]})` : "")).join(", ");
    return element("p", { className: "quiet" }, [
      of("seconds", 2, "", " s"), of("fps", 3, "", " fps"), columns.size[wanted],
      columns.codec[wanted] ? `${columns.codec[wanted]} in ${columns.container[wanted]}` : null,
      of("motion", 2, "motion energy ", " cells/s"), of("confidence", 3, "confidence ", ""),
      odd ? `flags: ${odd}` : null, why[wanted] || null,
    ].filter((one) => one).join("; "));
  }

  function tell(seconds) {
    moment = seconds;
    if (plot && plot.layout) Plotly.relayout(plot, { "shapes[0].x0": seconds, "shapes[0].x1": seconds });
  }

  // Rows of the time line from the top: curves that the store has, then marks.
  function draw() {
    if (!plot || !curves) return;
    const { colour } = msnet;
    const rows = [["motion", "motion<br>(cells/s)", "motion", 3], ["change", "feature<br>change", "change", 3]]
      .filter(([name]) => curves[name][0].length)
      .map(([name, title, tone, share]) => ({ title, share, trace: curve(curves[name], colour(tone)) }));
    const marks = curves.marks.filter(({ times }) => times !== null);
    if (marks.length) rows.push({ title: "", share: 0.5 + 0.35 * marks.length, marks });
    const total = rows.reduce((sum, { share }) => sum + share + 0.3, -0.3);
    const height = Math.round(60 * total) + 60;
    plot.style.height = `${height}px`;
    const traces = [];
    const layout = msnet.plotLayout((axis) => ({
      height, margin: { l: 74, r: 8, t: 6, b: 36 }, hovermode: "x", hoverdistance: -1, shapes: lines(marks),
      xaxis: { ...axis, range: [0, curves.seconds || 1], title: { text: "seconds" }, anchor: `y${rows.length > 1 ? rows.length : ""}` },
    }));
    let top = 1;
    rows.forEach(({ title, share, trace, marks: of }, n) => {
      const name = n ? `y${n + 1}` : "y";
      const low = Math.max(0, top - share / total);
      const axis = { gridcolor: colour("line"), zeroline: false, fixedrange: true, nticks: 4, title: { text: title } };
      layout[n ? `yaxis${n + 1}` : "yaxis"] = { ...axis, domain: [low, top], rangemode: "tozero",
        ...(of ? { range: [of.length - 0.5, -0.5], tickvals: [...of.keys()], ticktext: of.map((one) => one.name), showgrid: false } : {}) };
      traces.push(...(of ? of.map((one, place) => marked(one, place)) : [trace]).map((one) => ({ ...one, yaxis: name })));
      top = low - 0.3 / total;
    });
    if (!traces.length) { plot.replaceChildren("This store has no curves of it."); return; }
    const first = !plot.layout;
    Plotly.react(plot, traces, layout, msnet.plotOptions);
    if (first) plot.on("plotly_click", ({ points }) => { if (player) { player.pause(); player.seek(points[0].x); } });
  }

  const curve = ([x, y], tone) => ({
    type: "scatter", mode: x.length > 1 ? "lines" : "markers", x, y, line: { color: tone, width: 1.6 },
    hovertemplate: "%{y:.3g} at %{x:.2f} s<extra></extra>",
  });

  const marked = ({ name, times }, place) => ({
    type: "scatter", mode: "markers", x: times, y: times.map(() => place), hovertemplate: "%{x:.2f} s<extra></extra>",
    marker: {
      color: msnet.colour(name === "predicted" ? "mark" : "text"), size: 11, line: { width: 2, color: msnet.colour(name === "predicted" ? "mark" : "text") },
      symbol: name === "predicted" ? "triangle-down" : "line-ns",
    },
  });

  // The moment that is shown, and what was predicted.
  function lines(marks) {
    const line = (x, tone, dash, width) => ({
      type: "line", x0: x, x1: x, y0: 0, y1: 1, yref: "paper", line: { color: msnet.colour(tone), width, dash },
    });
    const predicted = marks.filter(({ name }) => name === "predicted").flatMap(({ times }) => times);
    return [line(moment, "text", "solid", 2), ...(predicted.length > LINES ? [] : predicted.map((x) => line(x, "mark", "dot", 1)))];
  }

  function pressed(event) {
    if (row === null || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape") { location.hash = ""; return; }
    if (!player || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
    const keys = {
      ArrowLeft: () => player.move(-1), ArrowRight: () => player.move(1), Home: () => player.show(0), End: () => player.show(player.last),
    };
    if (event.target.tagName !== "BUTTON" && event.target.tagName !== "A") keys[" "] = player.toggle;
    if (keys[event.key]) { event.preventDefault(); keys[event.key](); }
  }

  return { begin, draw };
})();
