"use strict";
// Each figure is data without colours; the colours are those of the style sheet, by day or by night.
(() => {
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  const paint = (figure, narrow) => {
    const { data, layout } = structuredClone(figure);
    for (const trace of data) {
      const own = colour(`--arm-${trace.meta.arm}`);
      trace.line = { ...trace.line, color: own };
      if (trace.meta.role === "spread") trace.fillcolor = own + "24";
      if (trace.meta.role === "seed") trace.opacity = 0.4;
      if (trace.marker) trace.marker = { ...trace.marker, color: own };
    }
    const font = getComputedStyle(document.body).fontFamily;
    layout.font = { family: font, color: colour("--ink"), size: narrow ? 12 : 13 };
    layout.paper_bgcolor = layout.plot_bgcolor = colour("--page");
    layout.hoverlabel = { ...layout.hoverlabel, bgcolor: colour("--card"), bordercolor: colour("--line"), font: { color: colour("--ink") } };
    for (const axis of [layout.xaxis, layout.yaxis]) {
      Object.assign(axis, { gridcolor: colour("--grid"), linecolor: colour("--soft"), tickcolor: colour("--soft") });
      if (axis.minor) axis.minor.gridcolor = colour("--grid");
    }
    for (const shape of layout.shapes) shape.line.color = colour("--soft");
    for (const note of layout.annotations) note.font = { color: colour("--soft"), size: 12 };
    if (narrow) {
      layout.height = 360;
      layout.dragmode = false;
      if (layout.xaxis.nticks) layout.xaxis.nticks = 6;
    }
    return { data, layout, config: { responsive: true, displaylogo: false, displayModeBar: narrow ? false : "hover",
      modeBarButtons: [["zoom2d", "pan2d", "resetScale2d", "toImage"]] } };
  };

  const draw = () => {
    for (const holder of document.querySelectorAll("figure")) {
      const figure = JSON.parse(holder.querySelector("script").textContent);
      holder.classList.add("live");
      const plot = holder.querySelector(".plot");
      const { data, layout, config } = paint(figure, plot.clientWidth < 560);
      Plotly.react(plot, data, layout, config).catch(() => holder.classList.remove("live"));
    }
  };

  if (typeof Plotly === "undefined") return; // the drawn figures stay
  draw();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
})();
