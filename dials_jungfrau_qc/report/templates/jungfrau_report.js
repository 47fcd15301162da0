function drawPlot(key, graph) {
  var save = function (format) {
    return {
      name: "Save as " + format.toUpperCase(),
      icon: Plotly.Icons[format === "svg" ? "disk" : "camera"],
      click: function (plot) {
        Plotly.downloadImage(plot, {format: format, filename: key, width: 1200, height: 600});
      }
    };
  };
  var layout = Object.assign({
    font: {family: "Helvetica Neue, Helvetica, Arial, sans-serif", size: 13},
    margin: {l: 80, r: 20, t: 80, b: 60},
    legend: {orientation: "v"},
    showlegend: true
  }, graph.layout);
  if (layout.height) {
    document.getElementById(key).style.height = layout.height + "px";
  }
  Plotly.newPlot(key, graph.data, layout, {
    responsive: true,
    displaylogo: false,
    modeBarButtons: [
      [save("png"), save("svg")],
      ["zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d"]
    ]
  });
}
