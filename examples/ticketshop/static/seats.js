// Keeps the number of seats left up to date. Without it the number is that of when the page was made.
for (const place of document.querySelectorAll("[data-seats]")) {
  const source = new EventSource(place.dataset.seats);
  source.onmessage = (message) => {
    place.textContent = Number(message.data).toLocaleString("en");
  };
}
