'use strict';
// Everything that was decided, by the id of the image: {status, boxes: [[class, ymin, xmin, ymax, xmax]]}.
const DATA = JSON.parse(document.getElementById('data').textContent);
// An accepted mask is the one at the cut of its page; boxes stand in the decision itself.
const OF = DATA.task !== 'detection' ? `${DATA.labels_sha256}-${DATA.cut}` : DATA.labels_sha256;
const KEY = 'review-' + OF;
const ROW = 28;
const MARKS = {accepted: '✓', rejected: '✗', corrected: '✎'};
const $ = (id) => document.getElementById(id);
let decisions = load();
let shown = [];         // Places in DATA.images, after the filters.
let here = 0;           // Place in `shown`.
let chosen = -1;        // Place of the chosen box.
let undo = [];          // Earlier boxes of this image, and what was decided about it.
let newClass = 1;

function load() {
  try { return JSON.parse(localStorage.getItem(KEY)) || {}; } catch (error) { return {}; }
}
function keep() {
  try { localStorage.setItem(KEY, JSON.stringify(decisions)); } catch (error) { /* Private windows have no store. */ }
}
const image = () => DATA.images[shown[here]];
const decision = (entry) => decisions[entry.id];
const colour = (classId) => DATA.colours[(classId - 1) % DATA.colours.length];
// A box: [class, ymin, xmin, ymax, xmax, score, is ignored]; what a person drew has no score.
function boxesOf(entry) {
  const found = decision(entry);
  if (!found || !found.boxes) return entry.boxes;
  const isThere = (box, other) => [1, 2, 3, 4].every((i) => other[i] === box[i]);
  const objects = found.boxes.map((box) => {
    const same = entry.boxes.find((other) => isThere(box, other) && other[0] === box[0]);
    return same ? same.slice(0, 6).concat([0]) : box;
  });
  const below = entry.boxes.filter((box) => box[6] && !found.boxes.some((other) => isThere(box, other)));
  return objects.concat(below);
}

function filter(keepPlace) {
  const before = shown.length ? image().id : null;
  const wanted = +$('class').value, status = $('status').value;
  shown = DATA.images.map((_, place) => place).filter((place) => {
    const entry = DATA.images[place], found = decision(entry);
    if (status === 'open' && found) return false;
    if (status !== 'all' && status !== 'open' && (!found || found.status !== status)) return false;
    return !wanted || boxesOf(entry).some((box) => box[0] === wanted) || entry.classes.includes(wanted);
  });
  here = keepPlace ? Math.max(0, shown.findIndex((place) => DATA.images[place].id === before)) : 0;
  $('list').firstElementChild.style.height = shown.length * ROW + 'px';
  show();
}

function drawList() {
  const list = $('list'), first = Math.max(0, Math.floor(list.scrollTop / ROW) - 5);
  const last = Math.min(shown.length, first + Math.ceil(list.clientHeight / ROW) + 10);
  const rows = [];
  for (let place = first; place < last; place++) {
    const entry = DATA.images[shown[place]], status = (decision(entry) || {}).status || '';
    const row = document.createElement('div');
    row.className = `row ${status} ${place === here ? 'here' : ''}`;
    row.style.top = place * ROW + 'px';
    const mark = document.createElement('span');
    mark.className = 'mark';
    mark.textContent = MARKS[status] || '·';
    row.append(mark, `${entry.sureness.toFixed(2)} ${entry.id}`);
    row.title = entry.id;
    row.onclick = () => go(place);
    rows.push(row);
  }
  list.firstElementChild.replaceChildren(...rows);
}

function place(element, box) {
  const [, ymin, xmin, ymax, xmax] = box;
  element.style.left = 100 * xmin + '%';
  element.style.top = 100 * ymin + '%';
  element.style.width = 100 * (xmax - xmin) + '%';
  element.style.height = 100 * (ymax - ymin) + '%';
}
const caption = (box) => `${DATA.class_names[box[0] - 1]}${box[5] === undefined ? '' : ' ' + box[5].toFixed(2)}`;

function show() {
  drawList();
  progress();
  const stage = $('stage');
  if (!shown.length) {
    stage.replaceChildren('No image is left with these filters.');
    $('name').textContent = $('state').textContent = '';
    $('boxes').replaceChildren();
    return;
  }
  const entry = image(), found = decision(entry);
  const picture = new Image();
  picture.src = 'data:image/jpeg;base64,' + $('i' + shown[here]).textContent;
  const room = stage.parentElement.getBoundingClientRect();
  const scale = Math.min((room.width - 16) / entry.width, (room.height - 16) / entry.height);
  picture.width = Math.round(entry.width * scale);
  picture.height = Math.round(entry.height * scale);
  picture.draggable = false;
  const parts = [picture];
  if (DATA.task === 'segmentation') {
    const mask = new Image();
    mask.className = 'mask';
    mask.src = 'data:image/png;base64,' + $('m' + shown[here]).textContent;
    parts.push(mask);
  }
  const items = [];
  boxesOf(entry).forEach((box, number) => {
    const element = document.createElement('div');
    element.className = `box ${box[6] ? 'ignored' : ''} ${number === chosen ? 'here' : ''} ${box[1] < 0.04 ? 'top' : ''}`;
    element.style.setProperty('--c', colour(box[0]));
    place(element, box);
    const label = document.createElement('span');
    label.textContent = caption(box);
    element.append(label);
    element.onpointerdown = (event) => { event.stopPropagation(); choose(number); };
    parts.push(element);
    const item = document.createElement('li');
    item.className = number === chosen ? 'here' : '';
    item.style.setProperty('--c', colour(box[0]));
    item.textContent = caption(box) + (box[6] ? ' (below the cut)' : '');
    item.onclick = () => choose(number);
    items.push(item);
  });
  stage.replaceChildren(...parts);
  $('boxes').replaceChildren(...items);
  $('name').textContent = entry.id;
  $('state').textContent = found ? found.status : 'not decided';
  $('state').className = found ? found.status : '';
}

function progress() {
  const counts = {accepted: 0, rejected: 0, corrected: 0};
  for (const entry of DATA.images) if (decision(entry)) counts[decision(entry).status]++;
  const done = counts.accepted + counts.rejected + counts.corrected;
  $('progress').textContent = `${done} of ${DATA.images.length} decided: ${counts.accepted} accepted, ` +
    `${counts.corrected} corrected, ${counts.rejected} rejected`;
}

function go(to) {
  if (!shown.length) return;
  here = Math.min(Math.max(to, 0), shown.length - 1);
  chosen = -1;
  undo = [];
  const list = $('list'), top = here * ROW;
  if (top < list.scrollTop) list.scrollTop = top;
  if (top + ROW > list.scrollTop + list.clientHeight) list.scrollTop = top + ROW - list.clientHeight;
  show();
}
function choose(number) { chosen = number; show(); }
const plain = (boxes) => boxes.filter((box) => !box[6]).map((box) => box.slice(0, 5));

function decide(status) {
  if (!shown.length) return;
  const entry = image();
  decisions[entry.id] = {status};
  if (status !== 'rejected' && DATA.task === 'detection') {
    // What was corrected stays so when it is accepted.
    const boxes = plain(boxesOf(entry));
    decisions[entry.id] = {status: isChanged(entry, boxes) ? 'corrected' : status, boxes};
  }
  keep();
  go(here + 1);
}
function isChanged(entry, boxes) {
  return JSON.stringify(boxes) !== JSON.stringify(plain(entry.boxes));
}
function change(boxes, next) {
  const entry = image();
  undo.push([decision(entry), chosen]);
  decisions[entry.id] = {status: 'corrected', boxes: plain(boxes)};
  chosen = next;
  keep();
  show();
}
function remove() {
  if (DATA.task !== 'detection' || chosen < 0) return;
  const boxes = boxesOf(image()).slice();
  if (boxes[chosen][6]) return;  // It is not among the labels.
  boxes.splice(chosen, 1);
  change(boxes, Math.min(chosen, boxes.filter((box) => !box[6]).length - 1));
}
function setClass(classId) {
  if (classId < 1 || classId > DATA.class_names.length || DATA.task !== 'detection') return;
  newClass = classId;
  $('new_class').value = classId;
  if (chosen < 0) return;
  const boxes = boxesOf(image()).map((box) => box.slice());
  // A box below the cut becomes an object when a person gives it a class.
  boxes[chosen] = [classId, ...boxes[chosen].slice(1, 5)];
  change(boxes, boxes.slice(0, chosen + 1).filter((box) => !box[6]).length - 1);
}
function back() {
  const entry = image();
  if (!undo.length) {
    delete decisions[entry.id];
  } else {
    const [before, box] = undo.pop();
    if (before) decisions[entry.id] = before; else delete decisions[entry.id];
    chosen = box;
  }
  keep();
  show();
}

// Drawing a box with the pointer.
let start = null;
function at(event) {
  const area = $('stage').getBoundingClientRect();
  const clip = (value) => Math.min(Math.max(value, 0), 1);
  return [clip((event.clientY - area.top) / area.height), clip((event.clientX - area.left) / area.width)];
}
function drawn(event) {
  const [y, x] = at(event), [y0, x0] = start;
  return [newClass, Math.min(y, y0), Math.min(x, x0), Math.max(y, y0), Math.max(x, x0)];
}
$('stage').onpointerdown = (event) => {
  if (DATA.task !== 'detection' || !shown.length || event.button) return;
  start = at(event);
  const rubber = document.createElement('div');
  rubber.id = 'rubber';
  $('stage').append(rubber);
};
window.onpointermove = (event) => { if (start) place($('rubber'), drawn(event)); };
window.onpointerup = (event) => {
  if (!start) return;
  const box = drawn(event), entry = image();
  start = null;
  $('rubber').remove();
  // A click beside the boxes only lets go of the chosen one.
  if ((box[3] - box[1]) * entry.height < 3 || (box[4] - box[2]) * entry.width < 3) return choose(-1);
  const boxes = boxesOf(entry).filter((each) => !each[6]);
  change([...boxes, box], boxes.length);
};

const KEYS = {
  ArrowRight: () => go(here + 1), n: () => go(here + 1), ArrowLeft: () => go(here - 1), p: () => go(here - 1),
  a: () => decide('accepted'), r: () => decide('rejected'), z: back, s: save,
  Delete: remove, Backspace: remove, x: remove, h: () => $('stage').classList.toggle('hide'),
  Escape: () => choose(-1),
};
document.onkeydown = (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || ['SELECT', 'INPUT'].includes(event.target.tagName)) return;
  let act = KEYS[event.key];
  if (event.key === 'Tab' && shown.length && boxesOf(image()).length) {
    const count = boxesOf(image()).length;
    act = () => choose((chosen + (event.shiftKey ? count - 1 + (chosen < 0) : 1)) % count);
  } else if (/^[0-9]$/.test(event.key)) {
    act = () => setClass(+event.key || 10);
  }
  if (act) { event.preventDefault(); act(); }
};

function review() {
  // Those about images of another page, too: an import replaces all that came before.
  return {
    format: DATA.format, labels_sha256: DATA.labels_sha256, cut: DATA.cut, class_names: DATA.class_names,
    images: decisions,
  };
}
function save() {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([JSON.stringify(review(), null, 1)], {type: 'application/json'}));
  link.download = 'review.json';
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
async function open(file) {
  try {
    const found = JSON.parse(await file.text());
    if (found.format !== DATA.format || found.labels_sha256 !== DATA.labels_sha256) throw new Error('it is about other labels');
    if (OF !== DATA.labels_sha256 && found.cut !== DATA.cut) throw new Error(`it is about masks at cut ${found.cut}`);
    decisions = found.images;
    keep();
    filter(true);
  } catch (error) { alert(`${file.name} cannot be used: ${error.message}.`); }
}

for (const [id, first] of [['class', 'all classes'], ['new_class', null]]) {
  if (first) $(id).append(new Option(first, 0));
  DATA.class_names.forEach((name, number) => $(id).append(new Option(`${number < 9 ? number + 1 + ' ' : ''}${name}`, number + 1)));
}
DATA.class_names.forEach((name, number) => {
  const entry = document.createElement('span'), spot = document.createElement('i');
  spot.style.setProperty('--c', colour(number + 1));
  entry.append(spot, name);
  $('legend').append(entry);
});
for (const element of document.querySelectorAll('.detection')) element.hidden = DATA.task !== 'detection';
$('class').onchange = $('status').onchange = (event) => { event.target.blur(); filter(false); };
$('new_class').onchange = (event) => { event.target.blur(); setClass(+event.target.value); };
$('accept').onclick = () => decide('accepted');
$('reject').onclick = () => decide('rejected');
$('undo').onclick = back;
$('save').onclick = save;
$('open').onchange = (event) => { open(event.target.files[0]); event.target.value = ''; };
$('list').onscroll = drawList;
window.onresize = show;
filter(false);
