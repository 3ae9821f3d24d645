"""VQA accuracy of answers in words.

As the official script has it (github.com/GT-Vision-Lab/VQA, `PythonEvaluationTools/vqaEvaluation/vqaEval.py`), which
is the formula of Antol et al. 2015 and Goyal et al. 2017 averaged over the subsets that leave one annotator out.
"""

import re
from collections.abc import Sequence

MIN_ANSWERS = 4
_MARKS = ';/[]"{}()=+\\_-><@`,?!'
_WORDS = {word: str(i) for i, word in enumerate("zero one two three four five six seven eight nine ten".split())}
_WORDS |= {"none": "0", "a": "", "an": "", "the": ""}
_FULL_FORMS = """
ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd he'd've he's
how'd how'll how's isn't it'd it'd've it'll ma'am might've mightn't mightn't've must've mustn't needn't not've o'clock
oughtn't 'ow's'at shan't she'd've should've shouldn't shouldn't've somebody'd somebody'd've somebody'll somebody's
someone'd someone'd've someone'll someone's something'd something'd've something'll that's there'd there'd've there're
there's they'd they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll what're what's what've
when's where'd where's where've who'd who'd've who'll who's who've why'll why're why's won't would've wouldn't
wouldn't've y'all y'all'd've y'all'll you'd you'd've you'll you're you've
""".split()
# By their spellings with one apostrophe left out.
_CONTRACTIONS = {word[:i] + word[i + 1 :]: word for word in _FULL_FORMS for i, c in enumerate(word) if c == "'"}


def vqa_score(prediction: str, answers: Sequence[str]) -> float:
    """Accuracy of one answer: the mean over the annotators of `min(m / 3, 1)`, m the others who gave this answer.

    With ten annotators 0, 0.3, 0.6, 0.9 and 1 for none, one, two, three and more who gave it. Answers are compared as
    they are where all annotators agree, and else in the form of `normalize_answer`.

    Raises a `ValueError` for fewer than four answers, with which no prediction could reach 1.
    """
    if isinstance(answers, str) or len(answers) < MIN_ANSWERS:
        raise ValueError(
            f"VQA accuracy needs at least {MIN_ANSWERS} annotators' answers, ten in VQA, and was given {answers!r}."
        )
    prediction, *answers = [re.sub(r"[\n\t]", " ", answer).strip() for answer in (prediction, *answers)]
    if len(set(answers)) > 1:
        prediction, *answers = map(normalize_answer, (prediction, *answers))
    same, count = answers.count(prediction), len(answers)
    return (same * min((same - 1) / 3, 1) + (count - same) * min(same / 3, 1)) / count


def normalize_answer(answer: str) -> str:
    """Lower case, without articles and punctuation, number words to ten as digits, contractions with apostrophes.

    A punctuation mark becomes a space, or nothing where one is beside it or a comma parts two digits in the answer; a
    full stop goes unless a digit follows.
    """
    thousands, text = re.search(r"\d,\d", answer), answer
    for mark in _MARKS:
        beside_space = f"{mark} " in answer or f" {mark}" in answer
        text = text.replace(mark, "" if beside_space or thousands else " ")
    words = (_WORDS.get(word, word) for word in re.sub(r"\.(?!\d)", "", text).lower().split())
    return " ".join(_CONTRACTIONS.get(word, word) for word in words if word)
