"use strict";
// Data comes as scripts that call msnet.store, msnet.curves and msnet.pictures: a page opened from a disk may load
// scripts, but may not fetch files. Foreign text is only ever set as the text of an element.
const msnet = (() => {
  const LONGEST_PART = 18; // of a name, in letters, that fits the first column of a table in a narrow window
  const folder = document.body.dataset.folder;
  const loading = new Map();
  const arrived = new Map();

  // Load a script of the page's folder once; resolves to what it handed over under its name, if anything.
  function load(name) {
    if (!loading.has(name)) {
      loading.set(name, new Promise((resolve, reject) => {
        const script = document.createElement("script");
        script.src = `${folder}/${name}.js`;
        script.onload = () => { resolve(arrived.get(name)); script.remove(); };
        script.onerror = () => { loading.delete(name); script.remove(); reject(new Error(`${name}.js is missing`)); };
        document.head.append(script);
      }));
    }
    return loading.get(name);
  }

  function forget(name) {
    loading.delete(name);
    arrived.delete(name);
  }

  // An element with properties and children; text becomes text, never markup.
  function element(tag, properties = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(properties)) {
      if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
      else if (name in made && name !== "list") made[name] = value;
      else made.setAttribute(name, value);
    }
    made.append(...children.filter((child) => child !== null && child !== undefined));
    return made;
  }

  // The name of a file as parts that a line may end behind: after / _ - and dots; within a part only if that is long.
  function breakable(name) {
    return name.split(/(?<=[/_.-])(?=[^/_.-])/).flatMap((part, n) => [
      n ? element("wbr") : "", part.length > LONGEST_PART ? element("span", { className: "anywhere" }, part) : part,
    ]);
  }

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

  function plotLayout(more) {
    const axis = { gridcolor: colour("line"), linecolor: colour("line"), zeroline: false, fixedrange: true };
    return {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", showlegend: false, dragmode: false,
      font: { color: colour("text"), size: 11, family: 'system-ui, "DejaVu Sans", sans-serif' },
      ...more(axis),
    };
  }

  const plotOptions = { displayModeBar: false, responsive: true, showTips: false, doubleClick: false };

  const number = (value, digits = 2) => (value === null || value === undefined
    ? "" : value.toLocaleString("en", { maximumFractionDigits: digits, minimumFractionDigits: 0 }));

  function duration(seconds) {
    if (seconds < 120) return `${number(seconds, 1)} s`;
    return seconds < 7200 ? `${Math.round(seconds / 60)} min` : `${number(seconds / 3600, 1)} h`;
  }

  function bytes(count) {
    const units = ["B", "kB", "MB", "GB", "TB"];
    let unit = 0;
    while (count >= 999.5 && unit < units.length - 1) { count /= 1000; unit += 1; }
    return `${number(count, unit ? 1 : 0)} ${units[unit]}`;
  }

  return {
    load, forget, element, breakable, colour, plotLayout, plotOptions, number, duration, bytes, data: null,
    plots: () => load("plotly.min"),
    curves: (block, content) => arrived.set(`curves-${block}`, content),
    pictures: (row, content) => arrived.set(`pictures-${row}`, content),
    store(content) {
      msnet.data = content;
      msnet.table.begin();
      msnet.overview.begin();
      msnet.video.begin();
      matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
        msnet.overview.draw();
        msnet.video.draw();
      });
    },
  };
})();
