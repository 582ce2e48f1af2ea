// Where a graph is drawn: on a canvas, or into the text of an SVG, by the same few strokes.

export const FONT = "12px system-ui, 'DejaVu Sans', sans-serif";

export class CanvasSurface {
  constructor(canvas, width, height) {
    const scale = window.devicePixelRatio || 1;
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
    this.context = canvas.getContext("2d", { willReadFrequently: true });
    this.context.setTransform(scale, 0, 0, scale, 0, 0);
    this.context.font = FONT;
  }

  rect(x, y, width, height, colour) {
    this.context.fillStyle = colour;
    this.context.fillRect(x, y, width, height);
  }

  area(points, colour) {
    this.trace(points);
    this.context.fillStyle = colour;
    this.context.fill();
  }

  line(points, colour, width = 1, dash = []) {
    this.trace(points);
    this.context.strokeStyle = colour;
    this.context.lineWidth = width;
    this.context.setLineDash(dash);
    this.context.stroke();
  }

  trace(points) {
    this.context.beginPath();
    points.forEach(([x, y], at) => (at ? this.context.lineTo(x, y) : this.context.moveTo(x, y)));
  }

  text(x, y, text, colour, align = "left") {
    this.context.fillStyle = colour;
    this.context.textAlign = align;
    this.context.fillText(text, x, y);
  }
}

const escaped = (text) => text.replace(/[&<>"]/g, (sign) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[sign]);
const ANCHOR = { left: "start", right: "end", center: "middle" };

export class SvgSurface {
  constructor(width, height) {
    this.parts = [`<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="12">`];
  }

  rect(x, y, width, height, colour) {
    this.parts.push(`<rect x="${x}" y="${y}" width="${width}" height="${height}" fill="${colour}"/>`);
  }

  area(points, colour) {
    this.parts.push(`<polygon points="${points.map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`).join(" ")}" fill="${colour}"/>`);
  }

  line(points, colour, width = 1, dash = []) {
    const broken = dash.length ? ` stroke-dasharray="${dash.join(" ")}"` : "";
    this.parts.push(`<polyline points="${points.map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`).join(" ")}" fill="none" stroke="${colour}" stroke-width="${width}"${broken}/>`);
  }

  text(x, y, text, colour, align = "left") {
    this.parts.push(`<text x="${x}" y="${y}" fill="${colour}" text-anchor="${ANCHOR[align]}">${escaped(text)}</text>`);
  }

  toString() {
    return `${this.parts.join("\n")}\n</svg>\n`;
  }
}
