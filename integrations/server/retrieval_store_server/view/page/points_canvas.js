/**
 * Points drawn without a graphics card: written straight into the pixels of a picture, which for
 * hundreds of thousands of points is many times faster than drawing each.
 */

/** The pixels of a disc, as offsets from its middle. */
function disc(size) {
  const found = [];
  const radius = Math.max(0.5, size / 2);
  const reach = Math.floor(radius);
  for (let y = -reach; y <= reach; y += 1) {
    for (let x = -reach; x <= reach; x += 1) if (x * x + y * y <= radius * radius) found.push([x, y]);
  }
  return found;
}

/**
 * @param {HTMLCanvasElement} canvas
 * @returns {object} `fill(places, colours)`, `draw(view, size)`, `end()`, `kind`
 */
export function canvasPoints(canvas) {
  const context = canvas.getContext("2d");
  let [points, shades] = [new Float32Array(0), new Uint32Array(0)];
  return {
    kind: "canvas",
    fill(places, colours) {
      [points, shades] = [places, colours];
    },
    draw(view, size) {
      const { width, height } = canvas;
      if (!width || !height) return;
      const picture = context.createImageData(width, height);
      const pixels = new Uint32Array(picture.data.buffer);
      const scale = (Math.min(width, height) / 2) * view.zoom;
      const stamp = disc(size);
      for (let i = 0; i < shades.length; i += 1) {
        const left = Math.round(width / 2 + (points[2 * i] - view.x) * scale);
        const top = Math.round(height / 2 - (points[2 * i + 1] - view.y) * scale);
        if (left < -8 || top < -8 || left > width + 8 || top > height + 8) continue;
        for (const [x, y] of stamp) {
          const [across, down] = [left + x, top + y];
          if (across >= 0 && across < width && down >= 0 && down < height) pixels[down * width + across] = shades[i];
        }
      }
      context.putImageData(picture, 0, 0);
    },
    end: () => {},
  };
}
