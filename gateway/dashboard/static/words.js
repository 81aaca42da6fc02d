// What the reason codes of the gateway mean, in a sentence. A code that is not here is shown as it is.

const REASONS = {
  same_request: "The very same request was stored.",
  same_question: "The same question was stored in other words, and is sure enough.",
  same_wording: "The same question was stored, but for words that mean nothing.",
  promoted: "A judge had found this question answered by a stored one.",
  other_history: "The same question was stored after another history.",
  prefix: "The model went on from a kept prefix of the prompt.",
  miss: "Nothing that is stored answers it.",
  absent: "No request like this, to the letter, is stored.",
  expired: "A stored answer was too old.",
  stale: "An ended answer was served while a new one is made.",
  collision: "Another request has the same key, so it was not served.",
  shadow: "It would have been served, and was answered anew all the same to see whether that were right.",
  shared: "The same request was being answered just then, and this one rode along.",
  off: "The semantic tier is off here.",
  tier_off: "The semantic tier was not asked for.",
  not_installed_or_off: "There is no semantic tier: it is off, or its packages are missing.",
  index_loading: "The index was still being loaded.",
  failed: "The semantic tier failed; the request went on without it.",
  no_candidates: "No stored question is near enough to be looked at.",
  below_threshold: "The nearest stored question is not near enough.",
  question_too_long: "The question is longer than the embedder can see.",
  tools_called: "Tools were called: such an answer is given to its own request alone.",
  no_question: "The last message is no question of a user.",
  not_rewritten: "The last turn could not be made to stand alone.",
  no_other_history: "No other history has it.",
  fallback: "Another model answered, because the one asked for could not.",
};

/** A sentence for a code. */
export function reason(code) {
  if (!code) return "";
  return REASONS[code] ?? `${code.charAt(0).toUpperCase()}${code.slice(1).replaceAll("_", " ")}.`;
}
