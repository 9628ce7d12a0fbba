"use strict";
(async () => {
  const text = (id) => document.getElementById(id).textContent;
  const figures = JSON.parse(text("charts"));
  const packed = Uint8Array.from(atob(text("plotly")), (c) => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  const script = document.createElement("script");
  script.textContent = await new Response(stream).text();
  document.head.append(script);

  // Colours stand in the figures as var(--name): SVG made by plotly can't read those itself.
  const themed = (value) => {
    const style = getComputedStyle(document.documentElement);
    const walk = (v) => {
      if (typeof v === "string") {
        return v.startsWith("var(--") ? style.getPropertyValue(v.slice(4, -1)).trim() : v;
      }
      if (Array.isArray(v)) return v.map(walk);
      if (v && typeof v === "object") {
        return Object.fromEntries(Object.entries(v).map(([k, each]) => [k, walk(each)]));
      }
      return v;
    };
    return walk(value);
  };
  const common = {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: "system-ui, sans-serif", size: 12, color: "var(--ink)" },
    hoverlabel: { bgcolor: "var(--panel)", bordercolor: "var(--rule)", align: "left",
                  font: { color: "var(--ink)" } },
  };
  const axis = { gridcolor: "var(--grid)", linecolor: "var(--rule)" };
  const place = (figure) => document.getElementById("chart-" + figure.name);
  const draw = (figure) => {
    const layout = { ...figure.layout, ...common };
    for (const key of ["xaxis", "yaxis"]) if (layout[key]) layout[key] = { ...axis, ...layout[key] };
    const div = place(figure);
    if (figure.least) div.style.minWidth = figure.least + "px";
    return Plotly.react(div, themed(figure.data), themed(layout),
                        { responsive: true, displayModeBar: false });
  };
  const drawAll = () => Promise.all(figures.filter(place).map(draw));
  await drawAll();

  for (const select of document.querySelectorAll("select[data-curves]")) {
    const figure = figures.find((f) => "chart-" + f.name === select.dataset.curves);
    const lines = figure.data.filter((trace) => trace.mode === "lines");
    select.addEventListener("change", () => {
      lines.forEach((trace, i) => {
        const chosen = select.value === String(i);
        trace.line = { width: chosen ? 3 : 1, color: chosen ? "var(--after)" : "var(--edge)" };
        trace.opacity = select.value === "" || chosen ? 1 : 0.25;
      });
      draw(figure);
    });
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  document.documentElement.dataset.charts = String(figures.filter(place).length);
})();
