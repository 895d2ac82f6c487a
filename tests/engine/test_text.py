from restrl.engine.text import Vocabulary, cut_at_stop
from restrl.model.tiny import tiny_tokenizer


def test_the_text_before_the_stop_string():
    assert cut_at_stop("abc\n```\nx", ("\n```",)) == ("abc", 2)
    assert cut_at_stop("abc", ("\n```",)) == ("abc", None)
    assert cut_at_stop("abc\n```", ("\n```",)) == ("abc", 0)


def test_the_stop_string_that_ends_first():
    assert cut_at_stop("a-bb-ccc", ("-ccc", "bb")) == ("a-", 4)


def test_of_two_that_end_together_the_longer():
    assert cut_at_stop("x\n```", ("```", "\n```")) == ("x", 0)


def test_pieces_join_to_the_text():
    tokenizer = tiny_tokenizer()
    vocabulary = Vocabulary(tokenizer)
    text = "def f(x):\n\n    return  x <|im_end|>\n"
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert "".join(vocabulary.piece(i) for i in ids) == vocabulary.text(ids) == text


def test_a_part_of_a_character_is_no_stop_string():
    tokenizer = tiny_tokenizer()
    ids = tokenizer("é", add_special_tokens=False)["input_ids"]
    assert len(ids) == 2
    assert [Vocabulary(tokenizer).piece(i) for i in ids] == ["\ufffd", "\ufffd"]
    assert Vocabulary(tokenizer).text(ids) == "é"
