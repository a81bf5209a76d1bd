/**
 * Points drawn by the graphics card: all in one buffer, by one call.
 *
 * A point is 12 bytes: x, y as float32, and four bytes of colour. Moving and zooming change three
 * numbers only, so they cost the same for ten points as for a million.
 */

const VERTEX = `#version 300 es
uniform vec2 middle;
uniform vec2 scale;
uniform float size;
in vec2 place;
in vec4 color;
out vec4 shade;
void main() {
  gl_Position = vec4((place - middle) * scale, 0.0, 1.0);
  gl_PointSize = size;
  shade = color;
}`;

const FRAGMENT = `#version 300 es
precision mediump float;
in vec4 shade;
out vec4 result;
void main() {
  float far = length(gl_PointCoord - 0.5);
  float alpha = shade.a * (1.0 - smoothstep(0.38, 0.5, far));
  if (alpha < 0.02) discard;
  result = vec4(shade.rgb * alpha, alpha);
}`;

function compiled(gl, kind, source) {
  const shader = gl.createShader(kind);
  gl.shaderSource(shader, source);
  gl.compileShader(shader);
  return shader;
}

function programOf(gl) {
  const program = gl.createProgram();
  for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
    gl.attachShader(program, compiled(gl, kind, source));
  }
  gl.linkProgram(program);
  return gl.getProgramParameter(program, gl.LINK_STATUS) ? program : null;
}

/** Points and colours as the buffer has them. */
function interleaved(places, colours) {
  const bytes = new ArrayBuffer(12 * colours.length);
  const floats = new Float32Array(bytes);
  const shades = new Uint32Array(bytes);
  for (let i = 0; i < colours.length; i += 1) {
    floats[3 * i] = places[2 * i];
    floats[3 * i + 1] = places[2 * i + 1];
    shades[3 * i + 2] = colours[i];
  }
  return bytes;
}

function described(gl, program) {
  const place = gl.getAttribLocation(program, "place");
  const color = gl.getAttribLocation(program, "color");
  gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
  gl.enableVertexAttribArray(place);
  gl.vertexAttribPointer(place, 2, gl.FLOAT, false, 12, 0);
  gl.enableVertexAttribArray(color);
  gl.vertexAttribPointer(color, 4, gl.UNSIGNED_BYTE, true, 12, 8);
}

let known = null;

/**
 * Whether WebGL is done by the processor, which takes ten times as long as writing pixels does. A
 * canvas of its own is asked, since one that has given a context gives no other kind.
 */
function isSoftware() {
  if (known === null) {
    const gl = document.createElement("canvas").getContext("webgl2");
    const info = gl?.getExtension("WEBGL_debug_renderer_info");
    const name = info ? gl.getParameter(info.UNMASKED_RENDERER_WEBGL) : "";
    known = /swiftshader|llvmpipe|softpipe|software|basic render/i.test(name);
    gl?.getExtension("WEBGL_lose_context")?.loseContext();
  }
  return known;
}

/**
 * @param {HTMLCanvasElement} canvas
 * @param {boolean} fast whether it has to be faster than drawing without a graphics card
 * @returns {object | null} `fill(places, colours)`, `draw(view, size)`, `end()`, `kind`; null where
 *   there is no WebGL2
 */
export function webglPoints(canvas, fast) {
  if (fast && isSoftware()) return null;
  const gl = canvas.getContext("webgl2", { antialias: false, premultipliedAlpha: true });
  const program = gl && programOf(gl);
  if (!program) return null;
  described(gl, program);
  const at = Object.fromEntries(["middle", "scale", "size"].map((name) => [name, gl.getUniformLocation(program, name)]));
  let count = 0;
  gl.useProgram(program);
  gl.enable(gl.BLEND);
  gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
  return {
    kind: "webgl2",
    fill(places, colours) {
      count = colours.length;
      gl.bufferData(gl.ARRAY_BUFFER, interleaved(places, colours), gl.STATIC_DRAW);
    },
    draw(view, size) {
      const { width, height } = canvas;
      const least = Math.min(width, height);
      gl.viewport(0, 0, width, height);
      gl.clearColor(0, 0, 0, 0);
      gl.clear(gl.COLOR_BUFFER_BIT);
      gl.uniform2f(at.middle, view.x, view.y);
      gl.uniform2f(at.scale, (view.zoom * least) / width, (view.zoom * least) / height);
      gl.uniform1f(at.size, size);
      gl.drawArrays(gl.POINTS, 0, count);
    },
    end: () => gl.getExtension("WEBGL_lose_context")?.loseContext(),
  };
}
