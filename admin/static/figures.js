"use strict";

// Each chart is drawn from the table beside it, so that both show the same numbers.
const charts = [...document.querySelectorAll("[data-bk-chart]")].filter((figure) => figure.querySelector("canvas"));
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const shorten = (label) => (label.length > 24 ? `${label.slice(0, 23)}…` : label);

function read(figure) {
  const heads = [...figure.querySelectorAll("thead th")].slice(1);
  const charted = heads.map((head, index) => index).filter((index) => heads[index].hasAttribute("data-bk-charted"));
  const columns = charted.length ? charted : [0];
  const maxRows = Number(figure.dataset.bkMaxRows) || Infinity;
  const rows = [...figure.querySelectorAll("tbody tr")].slice(0, maxRows);
  return {
    labels: rows.map((row) => row.querySelector("th").textContent.trim()),
    series: columns.map((index) => ({
      label: heads[index].textContent.trim(),
      texts: rows.map((row) => row.querySelectorAll("td")[index].textContent.trim()),
      data: rows.map((row) => {
        const value = row.querySelectorAll("td")[index].dataset.value;
        return value === "" ? null : Number(value);
      }),
    })),
  };
}

function settings(figure) {
  const { labels, series } = read(figure);
  const { bkChart: kind, bkUnit: unit } = figure.dataset;
  const [textColour, lineColour] = [colour("--bk-quiet"), colour("--bk-line")];
  const seriesColours = [colour("--bk-first"), colour("--bk-second")];
  const isHorizontal = kind === "bars";
  const valueAxis = { beginAtZero: true, stacked: kind === "stacked", grid: { color: lineColour }, ticks: { color: textColour, precision: unit ? undefined : 0, maxTicksLimit: 6, callback: (value) => value.toLocaleString("en") + unit } };
  const labelAxis = { stacked: kind === "stacked", grid: { display: false }, ticks: { color: textColour, maxRotation: 0, autoSkip: !isHorizontal, autoSkipPadding: 12, callback(value) { return shorten(this.getLabelForValue(value)); } } };
  return {
    type: kind === "line" ? "line" : "bar",
    data: { labels, datasets: series.map((each, index) => ({ ...each, backgroundColor: seriesColours[index], borderColor: seriesColours[index], borderWidth: kind === "line" ? 2 : 0, borderRadius: 3, maxBarThickness: 48, pointRadius: labels.length > 40 ? 0 : 3, tension: 0, spanGaps: false })) },
    options: {
      animation: false,
      maintainAspectRatio: false,
      indexAxis: isHorizontal ? "y" : "x",
      interaction: { mode: "index", intersect: false, axis: isHorizontal ? "y" : "x" },
      plugins: {
        legend: { display: series.length > 1, labels: { color: textColour, boxWidth: 14 } },
        tooltip: { callbacks: { label: (item) => `${item.dataset.label}: ${item.dataset.texts[item.dataIndex]}` } },
      },
      scales: isHorizontal ? { x: valueAxis, y: labelAxis } : { x: labelAxis, y: valueAxis },
    },
  };
}

const draw = () => charts.map((figure) => {
  const canvas = figure.querySelector("canvas");
  window.Chart.getChart(canvas)?.destroy();
  figure.dataset.bkPoints = read(figure).labels.length; // Read by tests.
  return new window.Chart(canvas, settings(figure));
});
draw();
new MutationObserver(draw).observe(document.documentElement, { attributeFilter: ["data-bs-theme"] });
