"use strict";
// Frames of a video with their displacement and confidence below, drawn from sheets of pictures.
msnet.player = (() => {
  const { element, number } = msnet;
  const FRAME_PX = 360; // height of the drawn frame; the pictures are smaller

  function image(source) {
    return new Promise((resolve, reject) => {
      const made = new Image();
      made.onload = () => resolve(made);
      made.onerror = () => reject(new Error("a picture cannot be read"));
      made.src = source;
    });
  }

  // One picture of a sheet at a time. cell: width and height of a picture in the sheet.
  async function screen(source, columns, cell, aspect, height, smooth) {
    const sheet = await image(source);
    const canvas = element("canvas", { width: Math.max(1, Math.round(height * aspect)), height });
    const context = canvas.getContext("2d");
    context.imageSmoothingEnabled = smooth;
    context.imageSmoothingQuality = "high";
    return {
      canvas,
      draw(n) {
        const [x, y] = [(n % columns) * cell[0], Math.floor(n / columns) * cell[1]];
        context.drawImage(sheet, x, y, cell[0], cell[1], 0, 0, canvas.width, canvas.height);
      },
    };
  }

  function legend(pictures, name) {
    const { legends } = msnet.data;
    if (name === "displacement") {
      return element("div", { className: "legend" }, element("img", { className: "wheel", src: legends.wheel, alt: "Colour wheel" }),
        element("span", {}, `displacement to the next frame; edge: ${number(pictures.largest_px, 1)} px`));
    }
    const [low, high] = pictures.trust.map((value) => element("span", {}, number(value, 2)));
    const strip = element("img", { className: "strip", src: legends.trust, alt: "to" });
    return element("div", { className: "legend" }, element("span", {}, "confidence"), low, strip, high);
  }

  // Builds the player; tell(seconds) is called whenever another moment is shown.
  async function make(pictures, tell) {
    const { times, columns, aspect, side, cells } = pictures;
    const screens = [];
    const box = element("div", { className: "pictures" });
    const add = async (source, cell, height, smooth, name) => {
      if (!source) return;
      const made = await screen(source, columns, cell, aspect, height, smooth);
      made.canvas.role = "img";
      made.canvas.ariaLabel = name;
      screens.push(made);
      box.append(element("div", { className: name === "frame" ? "whole" : "" }, made.canvas,
        name === "frame" ? null : legend(pictures, name)));
    };
    await add(pictures.frames, [side, side], FRAME_PX, true, "frame");
    if (cells) {
      await add(pictures.displacement, [cells[1], cells[0]], cells[0] * 8, false, "displacement");
      await add(pictures.confidence, [cells[1], cells[0]], cells[0] * 8, false, "confidence");
    }
    return controls(times, screens, box, tell);
  }

  function controls(times, screens, box, tell) {
    let at = 0;
    let clock = 0;
    let seconds = 0;
    const button = element("button", { type: "button", onclick: () => toggle() }, "Play");
    const slider = element("input", {
      type: "range", min: 0, max: Math.max(0, times.length - 1), step: 1, value: 0, ariaLabel: "Moment",
      oninput: () => { pause(); show(slider.valueAsNumber); },
    });
    const output = element("output");

    function show(n) {
      at = Math.max(0, Math.min(times.length - 1, n));
      screens.forEach((one) => one.draw(at));
      slider.value = at;
      output.textContent = `${times[at].toFixed(2)} s`;
      slider.setAttribute("aria-valuetext", output.textContent);
      tell(times[at]);
    }

    // The last frame at or before a time.
    function seek(time) {
      let n = times.findIndex((one) => one > time + 1e-6);
      if (n < 0) n = times.length;
      show(n - 1);
    }

    function step(now) {
      if (!clock) return;
      seconds += (now - clock) / 1000;
      clock = now;
      if (at === times.length - 1) { pause(); return; }
      if (seconds >= times[at + 1]) seek(seconds);
      requestAnimationFrame(step);
    }

    function play() {
      if (at === times.length - 1) show(0);
      seconds = times[at];
      clock = performance.now();
      button.textContent = "Pause";
      requestAnimationFrame(step);
    }

    function pause() {
      clock = 0;
      button.textContent = "Play";
    }

    const toggle = () => (clock ? pause() : play());
    const node = element("div", { className: "player" }, box, element("div", { className: "controls" }, button, slider, output));
    return { node, show, seek, toggle, pause, move: (by) => { pause(); show(at + by); }, last: times.length - 1 };
  }

  return { make };
})();
