// The page is whole without this: pointing at the matrix, its arrow keys, sorting and finding of classes.
"use strict";
(() => {
  document.documentElement.classList.add("scripted");

  const matrix = document.getElementById("matrix");
  const drawing = matrix.querySelector("svg");
  const cursor = document.getElementById("cursor");
  const readout = document.getElementById("readout");
  const margin = Number(drawing.dataset.margin), cell = Number(drawing.dataset.cell);
  const classes = Number(drawing.dataset.classes);
  const names = [...drawing.querySelectorAll("text.row title")].map((title) => title.textContent);
  const titles = new Map();
  for (const rect of drawing.querySelectorAll("rect.cell")) {
    titles.set(rect.dataset.row + "," + rect.dataset.col, rect.parentNode.querySelector("title").textContent);
  }
  let row = -1, column = -1;

  function show(i, j) {
    row = i;
    column = j;
    readout.textContent = titles.get(i + "," + j) ?? (i === j ? names[i] + ": none recognised"
                                                             : names[i] + " never taken for " + names[j]);
    cursor.setAttribute("x", margin + j * cell);
    cursor.setAttribute("y", margin + i * cell);
    cursor.setAttribute("width", cell);
    cursor.setAttribute("height", cell);
  }

  drawing.addEventListener("pointermove", (event) => {
    const box = drawing.getBoundingClientRect(), scale = drawing.viewBox.baseVal.width / box.width;
    const j = Math.floor(((event.clientX - box.left) * scale - margin) / cell);
    const i = Math.floor(((event.clientY - box.top) * scale - margin) / cell);
    if (i >= 0 && j >= 0 && i < classes && j < classes) show(i, j);
  });

  const moves = {ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1]};
  matrix.addEventListener("keydown", (event) => {
    const move = moves[event.key];
    if (!move || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    const within = (k) => Math.min(Math.max(k, 0), classes - 1);
    show(row < 0 ? 0 : within(row + move[0]), column < 0 ? 0 : within(column + move[1]));
    matrix.scrollLeft = Math.max(0, margin + column * cell - matrix.clientWidth / 2);
  });

  const bars = document.getElementById("bars");
  const items = [...bars.children];
  const value = (item, key) => Number(item.dataset[key]);
  const by_name = (a, b) => a.dataset.name.localeCompare(b.dataset.name);
  const orders = {
    share: (a, b) => value(b, "share") - value(a, "share") || by_name(a, b),
    worst: (a, b) => (value(a, "videos") === 0) - (value(b, "videos") === 0) ||
                     value(a, "share") - value(b, "share") || by_name(a, b),
    name: by_name,
    videos: (a, b) => value(b, "videos") - value(a, "videos") || by_name(a, b),
  };
  document.getElementById("sort").addEventListener("change", (event) => {
    bars.append(...items.sort(orders[event.target.value]));
  });
  document.getElementById("find").addEventListener("input", (event) => {
    const wanted = event.target.value.toLowerCase();
    for (const item of items) item.hidden = !item.dataset.name.toLowerCase().includes(wanted);
  });
})();
