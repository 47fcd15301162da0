"use strict";
(function () {
  // Of plots on paper, in pixels of 1/96 inch: what A4 and Letter have between the margins
  const PAPER_WIDTH = 690;
  const PAPER_HEIGHT = 330;
  const SAVED_WIDTH = 1200;
  // Plots that are narrower have no room for names beside them
  const NARROW = 700;
  const areas = Array.from(document.querySelectorAll(".plot-area"));
  const waiting = areas.slice();

  function draw(area) {
    const graph = JSON.parse(document.getElementById(area.id + "_graph").textContent);
    const layout = Object.assign({
      font: {family: "Helvetica Neue, Helvetica, Arial, sans-serif", size: 13, color: "#333"},
      margin: {l: 80, r: 20, t: 50, b: 50},
      showlegend: true
    }, graph.layout);
    const first = presetsOf(area)[0] && heightsBetween(graph.data, layout.xaxis.range);
    if (first) { layout.yaxis.range = first; }
    Plotly.newPlot(area, graph.data, layout, {
      responsive: true,
      displaylogo: false,
      modeBarButtons: [["zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d"]]
    });
    area.ownHeight = graph.layout.height;
    if (area.offsetWidth < NARROW && area.querySelector(".legend")) {
      // And the title beside the buttons
      putNamesAbove(area, area.offsetHeight, {
        "title.x": 0.01, "title.xanchor": "left", "title.font.size": 14
      });
    }
    area.on("plotly_relayout", function () { markPreset(area); });
    markPreset(area);
  }

  // One plot after the other, so that the page can be read and scrolled meanwhile; first
  // those that are looked at
  function drawNext() {
    const seen = waiting.findIndex(isInView);
    const record = document.body.dataset;
    if (seen < 0 && !record.drawnInViewAt) { record.drawnInViewAt = performance.now(); }
    if (waiting.length) {
      draw(waiting.splice(Math.max(seen, 0), 1)[0]);
      setTimeout(drawNext);
    } else {
      record.drawn = "all";
      record.drawnAt = performance.now();
    }
  }

  function isInView(area) {
    const box = area.getBoundingClientRect();
    return box.width > 0 && box.bottom > 0 && box.top < window.innerHeight;
  }

  function presetsOf(area) {
    return document.querySelectorAll('[data-range][data-plot="' + area.id + '"]');
  }

  function markPreset(area) {
    const shown = area.layout.xaxis.range;
    presetsOf(area).forEach(function (button) {
      const range = JSON.parse(button.dataset.range);
      const same = shown && range.every(function (end, i) { return Math.abs(end - shown[i]) < 1e-6; });
      button.setAttribute("aria-pressed", same ? "true" : "false");
    });
  }

  // The range of the values that are shown between two places, for a logarithmic axis
  function heightsBetween(data, [low, high]) {
    let lowest = Infinity, highest = 0;
    data.forEach(function (trace) {
      if (trace.visible === "legendonly") { return; }
      trace.x.forEach(function (x, i) {
        const y = trace.y[i];
        if (y > 0 && x >= low && x <= high) {
          lowest = Math.min(lowest, y);
          highest = Math.max(highest, y);
        }
      });
    });
    if (!highest) { return null; }
    const bottom = Math.log10(lowest), top = Math.log10(highest);
    const space = 0.05 * (top - bottom) + 0.05;
    return [bottom - space, top + space];
  }

  function applyPreset(area, range) {
    const heights = heightsBetween(area.data, range);
    const change = {"xaxis.range": range};
    if (heights) {
      change["yaxis.range"] = heights;
    } else {
      change["yaxis.autorange"] = true;
    }
    Plotly.relayout(area, change);
  }

  // As it is shown, with a line that says where it comes from
  function save(area, format) {
    const layout = JSON.parse(JSON.stringify(area.layout));
    const source = document.body.dataset.source;
    const text = source.length > 150 ? source.slice(0, 149) + "…" : source;
    layout.title.subtitle = {
      text: text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;"),
      font: {size: 11, color: "#595959"}
    };
    Object.assign(layout.margin, {t: 80, b: 80});
    // There is room beside it, if there was none on the screen
    ["x", "xanchor", "y", "yanchor", "font"].forEach(function (key) { delete layout.title[key]; });
    ["orientation", "y", "yanchor", "font"].forEach(function (key) { delete (layout.legend || {})[key]; });
    if (layout.xaxis.rangeslider) {
      layout.xaxis.rangeslider.visible = false;
    }
    Plotly.downloadImage({data: area.data, layout: layout}, {
      format: format,
      filename: area.id,
      width: SAVED_WIDTH,
      height: Math.max(600, Math.round(area.offsetHeight * SAVED_WIDTH / area.offsetWidth)),
      scale: format === "png" ? 2 : 1
    });
  }

  document.addEventListener("click", function (event) {
    const target = event.target;
    // Beside an open help, whose content is in a div of its own
    if (target.tagName === "DIALOG") { target.close(); }
    const button = target.closest("button");
    if (!button) { return; }
    const area = button.dataset.plot && document.getElementById(button.dataset.plot);
    if (button.dataset.dialog) {
      document.getElementById(button.dataset.dialog).showModal();
    } else if (button.dataset.range) {
      applyPreset(area, JSON.parse(button.dataset.range));
    } else if (button.dataset.format) {
      save(area, button.dataset.format);
    }
  });

  document.querySelectorAll("details").forEach(function (section) {
    section.addEventListener("toggle", function () {
      section.querySelectorAll(".js-plotly-plot").forEach(function (area) {
        if (section.open && area.offsetWidth) { Plotly.Plots.resize(area); }
      });
    });
  });

  // Names above the plot, where they would take half of the width beside it
  function putNamesAbove(area, height, more) {
    Plotly.relayout(area, Object.assign({
      "legend.orientation": "h", "legend.y": 1, "legend.yanchor": "bottom", "legend.font.size": 10
    }, more));
    const names = area.querySelector(".legend");
    const room = names ? Math.ceil(names.getBBox().height) : 0;
    area.style.height = height + room + "px";
    Plotly.relayout(area, {
      height: height + room, "margin.t": 40 + room,
      "title.y": 1 - 10 / (height + room), "title.yanchor": "top"
    });
  }

  const CHANGED_ABOVE = [
    "margin.t", "title.y", "title.yanchor",
    "legend.orientation", "legend.y", "legend.yanchor", "legend.font.size"
  ];

  function fitToPaper(area) {
    const own = area.ownHeight;
    const height = own ? own * PAPER_WIDTH / area.offsetWidth : PAPER_HEIGHT;
    area.onScreen = {height: area.style.height, layout: {
      width: null, height: area.layout.height || null, autosize: true
    }};
    CHANGED_ABOVE.forEach(function (path) {
      const value = path.split(".").reduce(function (part, key) { return (part || {})[key]; }, area.layout);
      area.onScreen.layout[path] = value === undefined ? null : value;
    });
    putNamesAbove(area, height, {width: PAPER_WIDTH, height: height});
  }

  let folded = [];
  window.addEventListener("beforeprint", function () {
    folded = Array.from(document.querySelectorAll("details:not([open])"));
    folded.forEach(function (section) { section.open = true; });
    waiting.splice(0).forEach(draw);
    areas.forEach(fitToPaper);
  });
  window.addEventListener("afterprint", function () {
    areas.forEach(function (area) {
      area.style.height = area.onScreen.height;
      Plotly.relayout(area, area.onScreen.layout);
    });
    folded.forEach(function (section) { section.open = false; });
  });

  drawNext();
})();
