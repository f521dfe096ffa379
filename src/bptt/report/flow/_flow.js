"use strict";
// Which layer's figures are shown, and the figure in which one asks what an output depends on.
(() => {
  const DECADES = 6; // of the tint
  const ARCS = 6;
  const SPECIAL = { "0": ["zero", "exactly 0"], Inf: ["inf", "Inf"], NaN: ["nan", "NaN"] };
  const make = (tag, name, text = "") => Object.assign(document.createElement(tag), { className: name, textContent: text });
  const amount = (value) => SPECIAL[value]?.[1] ?? Number(value).toPrecision(3);

  for (const picker of document.querySelectorAll(".picker")) {
    const choose = () => {
      const { value } = picker.querySelector(":checked");
      for (const figure of picker.parentElement.querySelectorAll("figure[data-layer]"))
        figure.hidden = figure.dataset.layer !== value;
      document.dispatchEvent(new Event("figures")); // the page's script draws what has come into sight
    };
    picker.addEventListener("change", choose);
    choose();
  }

  // A step of the input, as a character, a token, a pixel or a bar.
  const cell = ({ kind, start, cells }, at, own) => {
    const content = cells[own];
    const made = make("span", "cell");
    if (at) made.role = "button";
    if (kind === "text") made.textContent = content === "\n" ? "⏎\n" : content;
    if (kind === "tokens") made.textContent = content ?? "·";
    if (kind === "image") made.dataset.grey = Math.round(255 * (content?.part ?? 0));
    if (kind === "values") made.append(Object.assign(make("i", ""), { style: `height: ${4 + 44 * (content?.part ?? 0)}px` }));
    made.dataset.name = `step ${start + own}` + (content === null ? "" : ` (${content.value ?? JSON.stringify(content)})`);
    return made;
  };

  const tint = (node, value, most) => {
    const share = SPECIAL[value] ? 0 : Math.max(0, 1 + Math.log10(value / most) / DECADES);
    const [name] = SPECIAL[value] ?? [""];
    for (const [each] of Object.values(SPECIAL)) node.classList.toggle(each, each === name);
    const mixed = `color-mix(in srgb, var(--tint) ${(100 * share).toFixed(1)}%, transparent)`;
    const over = name ? `var(--over-${name})` : `linear-gradient(${mixed}, ${mixed})`;
    const { grey } = node.dataset;
    node.style.background = over + (grey === undefined ? "" : `, rgb(${grey} ${grey} ${grey})`);
  };

  const SVG = "http://www.w3.org/2000/svg";
  const HEAD = `<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="9" markerHeight="9"
    markerUnits="userSpaceOnUse" orient="auto"><path d="M0 0L8 4L0 8z"/></marker></defs>`;

  const arcs = (svg, nodes, to, from) => {
    const box = svg.getBoundingClientRect();
    const top = (node) => {
      const own = node.getBoundingClientRect();
      return [own.left - box.left + own.width / 2, own.top - box.top + Math.min(4, own.height / 4)];
    };
    svg.innerHTML = HEAD;
    from.forEach((source, rank) => {
      const [[x0, y0], [x1, y1]] = [top(nodes[source]), top(nodes[to])];
      const lift = Math.min(50, 12 + Math.abs(x1 - x0) / 4);
      const path = document.createElementNS(SVG, "path");
      path.setAttribute("d", `M${x0} ${y0} C${x0} ${y0 - lift} ${x1} ${y1 - lift} ${x1} ${y1}`);
      path.setAttribute("stroke-width", 2.6 - (1.8 * rank) / ARCS);
      path.setAttribute("marker-end", "url(#head)");
      svg.append(path);
    });
  };

  // In words: what the output at a step depends on.
  const tell = (t, values, order, most, nodes, start) => {
    const output = `The output of ${nodes[t].dataset.name}`;
    if (!order.length) return `${output} depends on no step: every value is exactly 0 or NaN.`;
    const [first] = order;
    const far = values.map((value, s) => (value === "Inf" || value >= most / 100 ? s : t))
      .reduce((best, s) => (Math.abs(s - t) > Math.abs(best - t) ? s : best), t);
    return `${output} depends most on the input of ${nodes[first].dataset.name}: ‖∂out/∂x‖ = ${amount(values[first])}. ` + (far === t ? "" :
      `The furthest step with at least 1% of that is step ${start + far}: ${Math.abs(far - t)} steps ${far < t ? "back" : "ahead"}.`);
  };

  for (const figure of document.querySelectorAll("figure.reach")) {
    const data = JSON.parse(figure.querySelector("script").textContent);
    const [asked, label, told, shown, cells] = [figure.querySelector(".asked"), make("label", "", "Output step "),
      make("p", "told"), make("div", "shown"), make("div", "cells")];
    const slider = Object.assign(make("input", ""), { type: "range", min: 0, max: data.at.length - 1, step: 1 });
    const number = make("output", "");
    const svg = document.createElementNS(SVG, "svg");
    const places = new Map(data.at.map((t, index) => [t - data.start, index]));
    const nodes = data.cells.map((_, s) => cell(data, places.has(s), s));
    if (data.columns) cells.style.gridTemplateColumns = `repeat(${data.columns}, 1fr)`;
    svg.setAttribute("aria-hidden", "true");
    told.setAttribute("aria-live", "polite");
    cells.append(...nodes);
    shown.append(cells, svg);
    label.append(slider, number);
    label.hidden = data.at.length === 1;
    asked.classList.add(data.kind);
    const keys = make("p", "keys");
    for (const [name, word] of [["ramp", "10⁻⁶ of the strongest, or less, to the strongest"], ...Object.values(SPECIAL)]) {
      const item = make("span", "", word);
      item.prepend(make("span", `cell ${name}`));
      keys.append(item);
    }
    asked.append(label, told, shown, keys);

    let drawn = () => {};
    const choose = (index) => {
      const [t, values] = [data.at[index] - data.start, data.norms[index]];
      const most = Math.max(0, ...values.filter((value) => typeof value === "number"));
      const size = (s) => (values[s] === "Inf" ? Infinity : values[s]);
      const order = values.map((_, s) => s).filter((s) => size(s) > 0).sort((a, b) => size(b) - size(a));
      nodes.forEach((node, s) => {
        tint(node, values[s], most);
        node.title = `${node.dataset.name}: ${amount(values[s])}`;
        if (node.role !== "button") return;
        node.setAttribute("aria-pressed", s === t);
        node.setAttribute("aria-label", node.title);
        node.tabIndex = s === t ? 0 : -1;
      });
      slider.value = index;
      number.textContent = `${data.at[index]}`;
      told.textContent = tell(t, values, order, most, nodes, data.start);
      drawn = () => arcs(svg, nodes, t, order.filter((s) => s !== t).slice(0, ARCS));
      drawn();
    };
    slider.addEventListener("input", () => choose(Number(slider.value)));
    cells.addEventListener("click", (event) => {
      const clicked = nodes.indexOf(event.target.closest(".cell"));
      const nearest = (best, t) => (Math.abs(t - clicked) < Math.abs(best - clicked) ? t : best);
      if (clicked >= 0) choose(places.get([...places.keys()].reduce(nearest)));
    });
    cells.addEventListener("keydown", (event) => {
      const move = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
      const index = Math.min(data.at.length - 1, Math.max(0, Number(slider.value) + (move ?? 0)));
      if (!move) return;
      event.preventDefault();
      choose(index);
      nodes[data.at[index] - data.start].focus();
    });
    choose(data.at.length - 1);
    new ResizeObserver(() => drawn()).observe(shown);
  }
})();
