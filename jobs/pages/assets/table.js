"use strict";
// The table of all videos: filtered by text, status, flag and ranges of numbers, sorted by any column, page by page.
msnet.table = (() => {
  const { element, number } = msnet;
  const SHOWN = 100;
  const DIGITS = { seconds: 1, fps: 2, motion: 2, confidence: 3, change: 4, boundaries: 0 };
  const HEADS = {
    id: "video", status: "status", seconds: "length s", fps: "fps", size: "size", codec: "codec", motion: "motion",
    confidence: "confidence", change: "change", boundaries: "boundaries", flags: "flags",
  };
  const WIDE = ["fps", "confidence", "change"]; // not in narrow windows
  const WIDEST = ["size", "codec"];
  const LEFT = ["status", "codec", "flags"];
  const state = { text: "", status: "", flag: "", ranges: {}, sort: "", down: false, page: 0 };
  const inputs = {};
  let found = [];
  let lowered = [];
  let columns = [];

  const at = (id) => document.getElementById(id);
  const data = () => msnet.data;

  function begin() {
    lowered = data().columns.id.map((id) => id.toLowerCase());
    columns = Object.keys(HEADS).filter((name) => data().columns[name]);
    filters();
    const head = element("tr", {}, ...columns.map((name) => element("th", {
      scope: "col", className: shape(name),
    }, element("button", { type: "button", onclick: () => sortBy(name) }, HEADS[name]))));
    at("videos").tHead.append(head);
    update();
  }

  const shape = (name) => [[LEFT, "left"], [WIDE, "wide"], [WIDEST, "widest"]]
    .filter(([names]) => names.includes(name)).map(([, style]) => style).join(" ");

  function filters() {
    const choice = (name, label, first, values) => {
      inputs[name] = element("select", { onchange: (event) => set({ [name]: event.target.value }) },
        element("option", { value: "" }, first), ...values.map((value) => element("option", { value }, value)));
      return element("label", {}, label, inputs[name]);
    };
    inputs.text = element("input", { type: "search", autocomplete: "off", oninput: (e) => set({ text: e.target.value }) });
    const names = msnet.overview.measured();
    inputs.column = element("select", { onchange: showRange },
      ...names.map((value) => element("option", { value }, msnet.overview.NUMBERS[value])));
    const bound = (end) => element("input", { type: "number", step: "any", oninput: () => typedRange(end) });
    inputs.least = bound(0);
    inputs.most = bound(1);
    const failed = data().statuses.length > 1 ? ["not done"] : [];
    at("filters").addEventListener("submit", (event) => event.preventDefault());
    at("filters").append(
      element("label", { className: "text" }, "Name contains", inputs.text),
      choice("status", "Status", "any", [...data().statuses, ...failed]),
      choice("flag", "Flag", "any", data().flags),
      element("label", {}, "Number", inputs.column),
      element("label", {}, "from", inputs.least), element("label", {}, "to", inputs.most),
      element("button", { type: "button", onclick: () => only({}) }, "Clear"));
  }

  function set(changes) {
    Object.assign(state, { page: 0 }, changes);
    update();
  }

  // Forget all filters but these.
  function only(changes) {
    set({ text: "", status: "", flag: "", ranges: {}, ...changes });
    for (const name of ["text", "status", "flag"]) inputs[name].value = state[name];
    showRange();
    at("h-videos").scrollIntoView();
  }

  function range(column, least, most) {
    inputs.column.value = column;
    set({ ranges: { ...state.ranges, [column]: [Number(least.toPrecision(6)), Number(most.toPrecision(6))] } });
    showRange();
  }

  function showRange() {
    const [least, most] = state.ranges[inputs.column.value] || [null, null];
    inputs.least.value = least === null ? "" : least;
    inputs.most.value = most === null ? "" : most;
  }

  function typedRange() {
    const bounds = [inputs.least, inputs.most].map((input) => (input.value === "" ? null : input.valueAsNumber));
    const ranges = { ...state.ranges, [inputs.column.value]: bounds };
    if (bounds[0] === null && bounds[1] === null) delete ranges[inputs.column.value];
    set({ ranges });
  }

  function sortBy(name) {
    if (state.sort !== name) Object.assign(state, { sort: name, down: false });
    else if (!state.down) state.down = true;
    else Object.assign(state, { sort: "", down: false });
    set({});
  }

  function matching() {
    const { statuses, flags } = data();
    const { status, flags: of } = data().columns;
    const text = state.text.trim().toLowerCase();
    const wanted = state.status ? statuses.indexOf(state.status) : -1;
    const flag = state.flag ? flags.indexOf(state.flag) : -1;
    const ranges = Object.entries(state.ranges).map(([name, bounds]) => [data().columns[name], ...bounds]);
    const fits = (row) => (!text || lowered[row].includes(text))
      && (!state.status || (state.status === "not done" ? status[row] !== 0 : status[row] === wanted))
      && (flag < 0 || (of[row] || []).includes(flag))
      && ranges.every(([values, least, most]) => values[row] !== null
        && (least === null || values[row] >= least) && (most === null || values[row] <= most));
    return [...lowered.keys()].filter(fits);
  }

  function compare(name) {
    const values = name === "id" ? lowered : data().columns[name];
    const sign = state.down ? -1 : 1;
    const key = name === "flags" ? (row) => (values[row] || []).length : (row) => values[row];
    return (a, b) => {
      const [x, y] = [key(a), key(b)];
      if (x === y) return a - b;
      if (x === null || x === undefined) return 1; // last either way
      if (y === null || y === undefined) return -1;
      return x < y ? -sign : sign;
    };
  }

  function update() {
    found = matching();
    if (state.sort) found.sort(compare(state.sort));
    const last = Math.max(0, Math.ceil(found.length / SHOWN) - 1);
    state.page = Math.min(state.page, last);
    const rows = found.slice(state.page * SHOWN, (state.page + 1) * SHOWN);
    at("videos").tBodies[0].replaceChildren(...rows.map(line));
    at("count").textContent = `${number(found.length)} of ${number(lowered.length)} videos`;
    [...at("videos").tHead.rows[0].cells].forEach((cell, n) => {
      const sorted = columns[n] === state.sort;
      cell.ariaSort = sorted ? (state.down ? "descending" : "ascending") : "none";
      cell.firstChild.textContent = HEADS[columns[n]] + (sorted ? (state.down ? " \u25bc" : " \u25b2") : "");
    });
    const turn = (by, label) => element("button", {
      type: "button", disabled: state.page + by < 0 || state.page + by > last, onclick: () => set({ page: state.page + by }),
    }, label);
    at("pages").replaceChildren(...(last ? [turn(-1, "Previous"), `page ${state.page + 1} of ${last + 1}`, turn(1, "Next")] : []));
    msnet.overview.follow();
  }

  function line(row) {
    return element("tr", {}, ...columns.map((name) => {
      const value = data().columns[name][row];
      const cell = element("td", { className: shape(name) });
      if (name === "id") cell.append(element("a", { href: `#video=${row}` }, ...msnet.breakable(value || "(no name)")));
      else if (name === "status") cell.append(element("span", { className: value ? "failed" : "" }, data().statuses[value]));
      else if (name === "flags") cell.append(...flagged(value || []));
      else cell.append(name in DIGITS ? number(value, DIGITS[name]) : value || "");
      return cell;
    }));
  }

  // Names of flags, with what they mean; that is also said as text, below the table and with the video.
  function flagged(flags) {
    const { flags: names, meanings } = data();
    return flags.flatMap((flag, n) => [n ? ", " : "", element("span", { title: meanings[flag] }, names[flag])]);
  }

  return { begin, only, range, rows: () => found };
})();
