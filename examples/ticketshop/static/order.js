// Shows the tickets of an order as they are made. Without it the page reloads itself until they are.
const panel = document.querySelector("[data-order]");
const made = panel.querySelector("[data-made]");
const receipt = panel.querySelector("[data-receipt]");
const order = panel.dataset.order;

const FIRST_PAUSE = 500;
const LONGEST_PAUSE = 5000;
const GIVE_UP_AFTER = 120_000;
const began = Date.now();

function say(place, text) {
  // A status is read out when it changes, and only then.
  if (place.textContent !== text) place.textContent = text;
}

function show({ done, of, tickets, receipt: isSent }) {
  panel.querySelector("progress").value = done;
  const all = of === 1 ? "Your ticket is ready." : `All ${of} tickets are ready.`;
  say(made, done === of ? all : `${done} of ${of} ready.`);
  for (const name of tickets) {
    const waiting = panel.querySelector(`[data-ticket="${name}"] span`);
    if (!waiting) continue;
    const link = document.createElement("a");
    link.href = `${order}/tickets/${name}.svg`;
    link.textContent = waiting.textContent;
    waiting.replaceWith(link);
  }
  if (isSent) say(receipt, "The receipt is in the demo's outbox.");
  return isSent && done === of;
}

async function ask() {
  try {
    const answer = await fetch(`${order}/progress`, { headers: { accept: "application/json" } });
    return answer.ok && show(await answer.json());
  } catch {
    return false;
  }
}

async function watch(pause) {
  if (await ask()) return;
  if (Date.now() - began > GIVE_UP_AFTER) {
    say(made, "This takes longer than usual. Look in again later.");
    return;
  }
  setTimeout(watch, pause, Math.min(pause * 1.5, LONGEST_PAUSE));
}

watch(FIRST_PAUSE);
