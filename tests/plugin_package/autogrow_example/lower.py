"""A tokenizer: what a token of a text is."""

from autogrow.data.tokenizers import Bytes


class Lower(Bytes):
    """Every byte of the text in lower case is a token."""

    kind = "lower"

    def encode(self, text):
        return super().encode(text.lower())

    def encode_file(self, content, where):
        return super().encode_file(content.lower(), where)
