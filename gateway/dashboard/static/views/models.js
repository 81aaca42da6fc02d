// The models that a caller may ask for: what /v1/models tells whoever has this key.

/** `models`: their names; `refused`: what to do when the gateway tells nobody without a key, or nobody with this one. */
export async function readNames(api, key) {
  try {
    const response = await api.v1("models", { headers: key ? { authorization: `Bearer ${key}` } : {} });
    if (response.status === 401 || response.status === 403) return { models: [], refused: key ? "this key is not accepted" : "enter an API key first" };
    if (!response.ok) return { models: [], refused: `the models could not be read (${response.status})` };
    return { models: (await response.json()).data.map((one) => one.id), refused: null };
  } catch {
    return { models: [], refused: "the server does not answer" };
  }
}
