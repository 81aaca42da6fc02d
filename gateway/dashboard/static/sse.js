// Server-sent events of a fetch, as objects: what a POST streams, which an EventSource cannot read.

/** Every `data:` of the response as JSON, until it ends or says [DONE]. */
export async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    while (true) {
      const { value, done } = await reader.read();
      if (done) return;
      const lines = (rest + value).split(/\r\n|\n|\r/);
      rest = lines.pop();
      for (const line of lines) {
        if (!line.startsWith("data:")) continue;
        const data = line.slice(5).trim();
        if (data !== "[DONE]") yield JSON.parse(data); // and read on: who hangs up before the end was not answered
      }
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
}
