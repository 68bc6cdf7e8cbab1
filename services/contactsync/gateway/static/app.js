// Keeps a filter's page up to date: the server sends the piece that changes, ready to be shown.
(() => {
  const news = document.getElementById("news");
  if (!news || !window.EventSource) return;
  const source = new EventSource(news.dataset.live);
  source.addEventListener("news", (event) => {
    // Only what the server's own template made, which escapes every value.
    const piece = new DOMParser().parseFromString(event.data, "text/html");
    news.replaceChildren(...piece.body.childNodes);
  });
  source.addEventListener("gone", () => {
    source.close();
    location.assign(document.querySelector("a.brand").href);
  });
  addEventListener("pagehide", () => source.close());
})();
