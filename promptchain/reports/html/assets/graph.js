// The steps of a chain and the lines between them, beside each other where there is room, else below each other.

const WIDEST = 224, NARROWEST = 108, PLACE = 22, GAP = { layer: 60, item: 18 };
const HEIGHTS = [68, 96, 134]; // of a box with a name; with figures too; and with a bar, and figures on two lines

// about(id): {state, lines: [text or element], bar, title}. pick(id): what a click on a step does, where it does anything.
function drawGraph(graph, about, pick) {
  const nodes = new Map();
  let figures = 0; // lines that the fullest box has below its name
  const list = el('ol', { class: 'nodes' }, graph.layers.flat().filter((item) => typeof item === 'string').map((id) => {
    const node = graph.nodes.find((one) => one.id === id);
    const told = about(node) || {};
    figures = Math.max(figures, told.bar ? 2 : (told.lines || []).length ? 1 : 0);
    const inside = [
      el('span', { class: 'name' }, told.state && mark(told.state), told.state && ' ', node.id),
      el('span', { class: 'kind', title: node.does || '' }, node.model || node.does || node.kind),
      told.bar, el('span', { class: 'line' }, (told.lines || []).map((line) => el('span', {}, line))),
      hidden(node.after.length ? `, after ${node.after.join(', ')}` : ', first'),
    ];
    const face = pick
      ? el('button', { type: 'button', class: 'node', on: { click: () => pick(id) }, title: told.title }, inside)
      : el('div', { class: 'node' }, inside);
    const item = el('li', { class: told.state ? `is-${told.state}` : null }, face);
    nodes.set(id, item);
    return item;
  }));
  const lines = svg('svg', { 'aria-hidden': 'true', class: 'lines' });
  const board = el('div', { class: 'board' }, lines, list);
  const frame = el('div', { class: 'graph', role: 'group', 'aria-label': 'Steps and what they wait for' }, board);
  let before = 0;
  const draw = () => {
    const width = frame.clientWidth;
    if (width && width !== before) { before = width; layOut(graph, nodes, board, lines, width, figures); }
  };
  new ResizeObserver(draw).observe(frame);
  return frame;
}

function layOut(graph, nodes, board, lines, room, figures) {
  const beside = graph.layers.length * (WIDEST + GAP.layer) - GAP.layer <= room;
  const box = beside ? { width: WIDEST, height: HEIGHTS[figures] } : narrowed(graph.layers, room, figures);
  const [along, across] = beside ? [box.width, box.height] : [box.height, box.width];
  const layerGap = beside ? GAP.layer : 40;
  const size = (item) => (typeof item === 'string' ? across : PLACE);
  const lengths = graph.layers.map((layer) => layer.reduce((sum, item) => sum + size(item), (layer.length - 1) * GAP.item));
  const widest = Math.max(...lengths);
  const centre = new Map();
  graph.layers.forEach((layer, level) => {
    let at = (widest - lengths[level]) / 2;
    for (const item of layer) {
      const middle = [level * (along + layerGap) + along / 2, at + size(item) / 2];
      centre.set(item, beside ? middle : middle.reverse());
      at += size(item) + GAP.item;
    }
  });
  const length = graph.layers.length * (along + layerGap) - layerGap;
  const [width, height] = beside ? [length, widest] : [widest, length];
  Object.assign(board.style, { width: `${width}px`, height: `${height}px` });
  fill(lines, { width, height, viewBox: `0 0 ${width} ${height}` }, []);
  for (const [id, item] of nodes) {
    const [x, y] = centre.get(id);
    Object.assign(item.style, { left: `${x - box.width / 2}px`, top: `${y - box.height / 2}px`, width: `${box.width}px`, height: `${box.height}px` });
  }
  lines.replaceChildren(...graph.edges.flatMap((edge) => line(edge, centre, beside, box)));
}

// Below each other steps are as wide as the fullest layer allows, and the narrower the higher.
function narrowed(layers, room, figures) {
  const width = Math.min(WIDEST, ...layers.map((layer) => {
    const steps = layer.filter((item) => typeof item === 'string').length;
    return (room - (layer.length - 1) * GAP.item - (layer.length - steps) * PLACE) / Math.max(1, steps);
  }));
  return width < WIDEST ? { width: Math.max(NARROWEST, Math.floor(width)), height: HEIGHTS[figures] + 20 * figures } : { width, height: HEIGHTS[figures] };
}

function line(edge, centre, beside, box) {
  const end = (id, side) => {
    const [x, y] = centre.get(id);
    return beside ? [x + side * box.width / 2, y] : [x, y + side * box.height / 2];
  };
  const target = end(edge.to, -1);
  const tip = beside ? [target[0] - 7, target[1]] : [target[0], target[1] - 7];
  const points = [end(edge.from, 1), ...edge.via.flatMap((place) => {
    const [x, y] = centre.get(place);
    const half = (beside ? box.width : box.height) / 2;
    return beside ? [[x - half, y], [x + half, y]] : [[x, y - half], [x, y + half]];
  }), tip];
  let path = `M${points[0]}`;
  for (let index = 1; index < points.length; index++) {
    const [[x, y], [toX, toY]] = [points[index - 1], points[index]];
    path += beside ? `C${(x + toX) / 2},${y} ${(x + toX) / 2},${toY} ${toX},${toY}` : `C${x},${(y + toY) / 2} ${toX},${(y + toY) / 2} ${toX},${toY}`;
  }
  const [x, y] = target;
  const head = beside ? `${x - 8},${y - 4} ${x},${y} ${x - 8},${y + 4}` : `${x - 4},${y - 8} ${x},${y} ${x + 4},${y - 8}`;
  return [svg('path', { d: path, class: edge.tolerant ? 'tolerant' : null }), svg('polygon', { points: head })];
}
