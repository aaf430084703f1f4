"use strict";

// Each chart is drawn from the table that stands beside it, so that both say the same.
const charts = [...document.querySelectorAll("[data-bk-chart]")].filter((figure) => figure.querySelector("canvas"));
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const short = (label) => (label.length > 24 ? `${label.slice(0, 23)}…` : label);

function read(figure) {
  const heads = [...figure.querySelectorAll("thead th")].slice(1);
  const drawn = heads.map((head, at) => at).filter((at) => heads[at].hasAttribute("data-bk-drawn"));
  const columns = drawn.length ? drawn : [0];
  const most = Number(figure.dataset.bkMost) || Infinity;
  const rows = [...figure.querySelectorAll("tbody tr")].slice(0, most);
  return {
    labels: rows.map((row) => row.querySelector("th").textContent.trim()),
    series: columns.map((at) => ({
      label: heads[at].textContent.trim(),
      data: rows.map((row) => {
        const value = row.querySelectorAll("td")[at].dataset.value;
        return value === "" ? null : Number(value);
      }),
    })),
  };
}

function settings(figure) {
  const { labels, series } = read(figure);
  const { bkChart: kind, bkUnit: unit } = figure.dataset;
  const [ink, line] = [colour("--bk-quiet"), colour("--bk-line")];
  const inks = [colour("--bk-first"), colour("--bk-second")];
  const isLying = kind === "bars";
  const values = { beginAtZero: true, stacked: kind === "stacked", grid: { color: line }, ticks: { color: ink, precision: unit ? undefined : 0, maxTicksLimit: 6, callback: (value) => value.toLocaleString("en") + unit } };
  const names = { stacked: kind === "stacked", grid: { display: false }, ticks: { color: ink, maxRotation: 0, autoSkip: !isLying, autoSkipPadding: 12, callback(value) { return short(this.getLabelForValue(value)); } } };
  return {
    type: kind === "line" ? "line" : "bar",
    data: { labels, datasets: series.map((one, at) => ({ ...one, backgroundColor: inks[at], borderColor: inks[at], borderWidth: kind === "line" ? 2 : 0, borderRadius: 3, maxBarThickness: 48, pointRadius: labels.length > 40 ? 0 : 3, tension: 0, spanGaps: false })) },
    options: {
      animation: false,
      maintainAspectRatio: false,
      indexAxis: isLying ? "y" : "x",
      interaction: { mode: "index", intersect: false, axis: isLying ? "y" : "x" },
      plugins: {
        legend: { display: series.length > 1, labels: { color: ink, boxWidth: 14 } },
        tooltip: { callbacks: { label: (item) => `${item.dataset.label}: ${item.raw.toLocaleString("en", { maximumFractionDigits: unit ? 1 : 2 })}${unit}` } },
      },
      scales: isLying ? { x: values, y: names } : { x: names, y: values },
    },
  };
}

const draw = () => charts.map((figure) => {
  const canvas = figure.querySelector("canvas");
  window.Chart.getChart(canvas)?.destroy();
  figure.dataset.bkPoints = read(figure).labels.length; // How many are drawn.
  return new window.Chart(canvas, settings(figure));
});
draw();
new MutationObserver(draw).observe(document.documentElement, { attributeFilter: ["data-bs-theme"] });
