"use strict";
// Rings around the points of one group, and its tooltip beside the nearest point.
for (const chart of document.querySelectorAll(".chart")) {
  const { marks, tooltips } = JSON.parse(chart.querySelector("script").textContent);
  const svg = chart.querySelector(".picture svg");
  const tip = chart.querySelector(".tip");
  const reach = 40;
  let group = null;

  function hide() {
    svg.querySelectorAll(".ring").forEach((ring) => ring.remove());
    tip.hidden = true;
    group = null;
  }

  function show(mark) {
    hide();
    group = mark[2];
    for (const [x, y, other] of marks) {
      if (other !== group) continue;
      const ring = document.createElementNS("http://www.w3.org/2000/svg", "circle");
      for (const [name, value] of Object.entries({ class: "ring", cx: x, cy: y, r: 6 })) ring.setAttribute(name, value);
      svg.append(ring);
    }
    tip.replaceChildren(...tooltips[group].map(([text, colour]) => {
      const line = document.createElement("div");
      if (colour !== null) line.append(Object.assign(document.createElement("i"), { style: `background: var(--line${colour})` }));
      line.append(text);
      return line;
    }));
    tip.hidden = false;
    const box = chart.getBoundingClientRect();
    const at = new DOMPoint(mark[0], mark[1]).matrixTransform(svg.getScreenCTM());
    const left = at.x - box.left + 14;
    const fits = left + tip.offsetWidth <= box.width;
    tip.style.left = `${Math.max(0, fits ? left : left - tip.offsetWidth - 28)}px`;
    tip.style.top = `${at.y - box.top + 10}px`;
  }

  svg.addEventListener("pointermove", (event) => {
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    const far = ([x, y]) => Math.hypot(x - at.x, y - at.y);
    const nearest = marks.reduce((best, mark) => (far(mark) < far(best) ? mark : best), marks[0]);
    if (far(nearest) > reach) hide();
    else if (nearest[2] !== group || tip.hidden) show(nearest);
  });
  svg.addEventListener("pointerleave", hide);
  chart.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (event.key === "Escape") hide();
    if (!step) return;
    event.preventDefault();
    const next = group === null ? 0 : (group + step + tooltips.length) % tooltips.length;
    const mark = marks.find((one) => one[2] === next);
    if (mark) show(mark);
  });
  chart.addEventListener("blur", hide);
}

for (const button of document.querySelectorAll("button.play")) {
  button.addEventListener("click", () => {
    for (const video of document.querySelectorAll("video")) {
      video.currentTime = 0;
      video.play();
    }
  });
}
