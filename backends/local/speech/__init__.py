"""Between messages and token ids: template and tokenizer on the way in; text, thoughts and calls on the way out."""
