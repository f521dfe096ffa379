"use strict";
// Each figure is data without colours; the colours are those of the style sheet, by day or by night.
(() => {
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  // A heatmap's z has log10 of each value, or a word: cells with the same word become a heatmap of one colour.
  const SPECIAL = { "0": ["exactly 0", "--zero"], Inf: ["Inf", "--inf"], NaN: ["NaN", "--nan"] };
  const heat = (trace) => {
    const numbers = trace.z.map((row) => row.map((value) => (typeof value === "string" ? null : value)));
    const shown = numbers.map((row) => row.map((value) => (value === null ? "" : (10 ** value).toPrecision(3))));
    const special = Object.entries(SPECIAL).filter(([word]) => trace.z.some((row) => row.includes(word)));
    const font = { color: colour("--ink") };
    return [
      { ...trace, z: numbers, text: shown, hoverongaps: false, colorscale: "Cividis",
        colorbar: { ...trace.colorbar, tickfont: font, title: { ...trace.colorbar.title, font } } },
      ...special.map(([word, [name, own]]) => ({
        ...trace, z: trace.z.map((row) => row.map((value) => (value === word ? 1 : null))), name, text: undefined, zmin: 0, zmax: 1,
        hovertemplate: trace.hovertemplate.replace("%{text}", name), hoverongaps: false, showscale: false, showlegend: true,
        colorscale: [[0, colour(own)], [1, colour(own)]], meta: { ...trace.meta, role: name } })),
    ];
  };

  const paint = (figure, narrow) => {
    const { data, layout } = structuredClone(figure);
    for (const trace of data) {
      const own = colour(`--arm-${trace.meta.arm}`);
      if (trace.line) trace.line = { ...trace.line, color: own };
      if (trace.meta.role === "spread") trace.fillcolor = own + "24";
      if (trace.meta.role === "seed") trace.opacity = 0.4;
      if (trace.marker || trace.type === "bar") trace.marker = { ...trace.marker, color: own };
    }
    const font = getComputedStyle(document.body).fontFamily;
    layout.font = { family: font, color: colour("--ink"), size: narrow ? 12 : 13 };
    layout.paper_bgcolor = layout.plot_bgcolor = colour("--page");
    layout.hoverlabel = { ...layout.hoverlabel, bgcolor: colour("--card"), bordercolor: colour("--line"), font: { color: colour("--ink") } };
    for (const axis of [layout.xaxis, layout.yaxis]) {
      Object.assign(axis, { gridcolor: colour("--grid"), linecolor: colour("--soft"), tickcolor: colour("--soft"), zerolinecolor: colour("--line") });
      if (axis.minor) axis.minor.gridcolor = colour("--grid");
    }
    for (const shape of layout.shapes ?? []) shape.line.color = colour("--soft");
    for (const note of layout.annotations ?? []) Object.assign(note, { font: { color: colour("--soft"), size: 12 }, bgcolor: colour("--page") + "b0" });
    if (narrow) {
      const entries = data.filter((trace) => trace.name && trace.showlegend !== false).length;
      layout.height = Math.min(layout.height, 360) + 22 * Math.max(0, entries - 3); // a legend of many rows
      layout.dragmode = false;
      if (layout.xaxis.nticks) layout.xaxis.nticks = 6;
    }
    return { data: data.flatMap((trace) => (trace.type === "heatmap" ? heat(trace) : [trace])), layout,
      config: { responsive: true, displaylogo: false, displayModeBar: narrow ? false : "hover",
        modeBarButtons: [["zoom2d", "pan2d", "resetScale2d", "toImage"]] } };
  };

  const draw = () => {
    for (const plot of document.querySelectorAll("figure:not([hidden]) .plot")) {
      const holder = plot.closest("figure");
      const figure = JSON.parse(holder.querySelector("script").textContent);
      holder.classList.add("live");
      if (!plot.clientWidth) continue; // on paper, where there is a picture for it
      const { data, layout, config } = paint(figure, plot.clientWidth < 560);
      Plotly.react(plot, data, layout, config).catch(() => holder.classList.remove("live"));
    }
  };

  if (typeof Plotly === "undefined") return; // the drawn figures stay
  draw();
  document.addEventListener("figures", draw); // some were hidden, and are shown now
  for (const medium of ["(prefers-color-scheme: dark)", "print"]) matchMedia(medium).addEventListener("change", draw);
})();
