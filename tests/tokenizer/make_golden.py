#!/usr/bin/env python3
"""Remakes the expected results in this folder with the Hugging Face tokenizers library.

    python3 -m venv venv && venv/bin/pip install tokenizers==0.23.3 xxhash
    venv/bin/python tests/tokenizer/make_golden.py

It needs Debian's fortunes (packages fortunes and fortunes-min) as text. Nothing here runs in the
tests: they read what this script wrote.
"""

import json
import pathlib
import random

import tokenizers
import xxhash
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers
from tokenizers import pre_tokenizers, processors, trainers

HERE = pathlib.Path(__file__).parent
FORTUNES = pathlib.Path("/usr/share/games/fortunes")
VOCABULARY = 1024

LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
DEEPSEEK = [
    r"\p{N}{1,3}",
    "[一-龥\u3040-ゟ゠-ヿ]+",
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
    "| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+",
]
LLAMA4 = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve"
    r"|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def fortunes():
    """The documents of the corpus, and the hash of its files."""
    digest = xxhash.xxh3_64()
    documents = []
    for path in sorted(FORTUNES.iterdir()):
        if path.suffix in (".dat", ".u8") or not path.is_file():
            continue
        data = path.read_bytes()
        digest.update(data)
        documents += [d for d in data.decode("utf-8", "replace").split("\n%\n") if d.strip()]
    return documents, digest.hexdigest()


def split(pattern):
    return pre_tokenizers.Split(Regex(pattern), "isolated")


def words_then_bytes(*patterns):
    steps = [split(p) for p in patterns]
    return pre_tokenizers.Sequence(
        steps + [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )


def added_tokens():
    return [
        AddedToken("<|bos|>", special=True, normalized=False),
        AddedToken("<|eos|>", special=True, normalized=False),
        AddedToken("<left>", special=True, normalized=False, lstrip=True),
        AddedToken("<right>", special=True, normalized=False, rstrip=True),
        AddedToken("<both>", special=False, normalized=False, lstrip=True, rstrip=True),
        AddedToken("word", special=False, normalized=False, single_word=True),
        AddedToken("<Normal>", special=False, normalized=True),
        AddedToken("<|bos|>more", special=False, normalized=False),
        AddedToken("école", special=False, normalized=True, single_word=True),
        AddedToken("  ", special=False, normalized=False),
    ]


def make(kind, documents):
    byte_fallback = kind == "llama2"
    tokenizer = Tokenizer(
        models.BPE(
            unk_token="<unk>" if byte_fallback else None,
            byte_fallback=byte_fallback,
            fuse_unk=byte_fallback,
            ignore_merges=kind == "llama3",
        )
    )
    special = []
    if kind == "llama2":
        # Published: no pre-tokenizer at all. To train without merging across whole documents, words
        # are cut for the trainer alone.
        tokenizer.normalizer = normalizers.Sequence(
            [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
        )
        special = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)]
        tokenizer.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    elif kind == "gpt2":
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    elif kind == "llama3":
        tokenizer.pre_tokenizer = words_then_bytes(LLAMA3)
    elif kind == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
        tokenizer.pre_tokenizer = words_then_bytes(QWEN2)
    elif kind == "deepseek_v3":
        tokenizer.pre_tokenizer = words_then_bytes(*DEEPSEEK)
    alphabet = (
        {"limit_alphabet": 100}
        if byte_fallback
        else {"initial_alphabet": pre_tokenizers.ByteLevel.alphabet()}
    )
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=special, show_progress=False, **alphabet
    )
    tokenizer.train_from_iterator(documents, trainer)
    if byte_fallback:
        # The trainer made the byte tokens special: in the published file they are plain ones.
        model = json.loads(tokenizer.to_str())
        model["added_tokens"] = [t for t in model["added_tokens"] if not t["content"].startswith("<0x")]
        model["pre_tokenizer"] = None
        tokenizer = Tokenizer.from_str(json.dumps(model))
        tokenizer.decoder = decoders.Sequence(
            [
                decoders.Replace("▁", " "),
                decoders.ByteFallback(),
                decoders.Fuse(),
                decoders.Strip(" ", 1, 0),
            ]
        )
        bos = ("<s>", tokenizer.token_to_id("<s>"))
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A", pair="<s> $A <s> $B:1", special_tokens=[bos]
        )
    else:
        tokenizer.decoder = decoders.ByteLevel()
        tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    tokenizer.add_tokens(added_tokens())
    if kind in ("llama3", "deepseek_v3"):
        bos = ("<|bos|>", tokenizer.token_to_id("<|bos|>"))
        tokenizer.post_processor = processors.Sequence(
            [
                processors.ByteLevel(trim_offsets=True),
                processors.TemplateProcessing(
                    single="<|bos|> $A",
                    pair="<|bos|> $A <|bos|> $B:1",
                    special_tokens=[bos],
                ),
            ]
        )
    return tokenizer


# Letters of scripts from the oldest to those of Unicode 14, and of 15 to 16.
SCRIPTS = [
    "Zażółć gęślą jaźń", "Съешь ещё этих мягких булок", "Ξεσκεπάζω τὴν ψυχοφθόρα", "հայերեն", "ქართული",
    "שָׁלוֹם עוֹלָם", "مرحبا بالعالم ٠١٢٣٤", "नमस्ते दुनिया १२३", "বাংলা", "தமிழ்", "తెలుగు", "ไทยสวัสดี", "ລາວ", "မြန်မာ",
    "ភាសាខ្មែរ", "བོད་ཡིག", "ᠮᠣᠩᠭᠣᠯ\u180eᠪᠢᠴᠢᠭ", "አማርኛ", "ᏣᎳᎩ", "한국어 텍스트", "한국어", "日本語のテキスト",
    "中文文本，没有空格。", "ꆈꌠꉙ", "𐌀𐌁𐌂", "𐎀𐎁", "𒀀𒀁", "𓀀𓀁", "𖬀𖬁", "𞤀𞤁𞤢", "𑄃𑄄",
    # Unicode 14: Vithkuqi, Toto, Cypro-Minoan, Old Uyghur, Tangsa, and its marks and digits.
    "𐕰𐕱𐖗𐖘", "𞊐𞊑𞊮", "𒾐𒾑", "𐽰𐽱𐾆", "𖩰𖩱𖫀𖫁", "𝼀𝼁", "\u08c8\u0c3c\u1ac1", "𑜰𑝀", "\u2e52\u2e53",
    # Unicode 15 and 16: Kawi, Nag Mundari, Garay, Todhri, new ideographs, outlined letters.
    "𑼂𑼃𑽐", "𞓐𞓰", "\U00010d40\U00010d4a\U00010d69", "\U000105c0\U000105c1", "\U0002ebf0\U00031350",
    "\U0001ccd6\U0001ccf0", "\ua7cb\ua7dc", "\U0001e5d0\U0001e5f1",
]

SPACES = [" ", "  ", "\t", "\n", "\r\n", "\r", "\u000b", "\u000c", "\u0085", "\u00a0", "\u1680",
          "\u180e", "\u2000", "\u2007", "\u200a", "\u200b", "\u2028", "\u2029", "\u202f", "\u205f",
          "\u3000", "\ufeff", "\u001c", "\u001f"]

EMOJI = ["👨‍👩‍👧‍👦", "🏳️‍🌈", "👍🏽", "🇩🇪🇫🇷", "1️⃣", "☠️", "🧑🏿‍🚀", "😶‍🌫️", "#️⃣", "🫠"]

MARKS = ["e\u0301", "\u00e9", "a\u0308\u0323", "a\u0323\u0308", "q\u0307\u0323", "\u1100\u1161\u11a8",
         "\u0344", "\u212b", "\ufb01", "\ufb03", "\u2460", "\u00bd", "\u1e9b\u0323", "\u0958", "\u2adc",
         "Z\u0351\u036b\u0343A\u035c\u0317L\u0321G\u0320O\u0324", "\u03b1\u0345", "\u0130", "\u0131",
         "\u017f", "\u212a", "\u1e9e", "\u00df", "\u03a3\u03c3\u03c2", "\u01c5", "\u32ff", "\U0001f16c",
         "\U00011938", "\U0001fbf0", "a\u0308\u07fd\u0323\u1df9\u0334\u08d4"]

SPECIALS = [t.content for t in added_tokens()] + ["<s>", "</s>", "<unk>", "<0x41>", "<|endoftext|>"]

PLAIN = ["Hello", "world", "I'm", "you'LL", "we'Re", "it'ſ", "x'D", "don't", "HE'S", "'", "''t", "a", "Z",
         "ab", "the", "THE", "The", "word", "words", "sword", "école", "e\u0301cole", "écoles", "123",
         "12345678901234567890", "1", "٣٤٥", "²", "Ⅷ", "½", "...", "!?", "---", "$1,000.00", "a_b", "C++",
         "http://x.y/?q=1&r=2#z", "\\n", "\x00", "\x01", "\x1b[0m", "\x7f", "\x80", "\ufffd", "\uffff",
         "\U0010ffff", "\ue000", "<", ">", "|", "▁", "Ġ", "Ċ", "Ā", "<|", "|>", "%", "{}", "[[", "]]"]


def random_texts(seed, count):
    """Texts drawn from everything above, joined with and without spaces."""
    draw = random.Random(seed)
    groups = [PLAIN, PLAIN, PLAIN, SPACES, SPACES, EMOJI, MARKS, SPECIALS, SCRIPTS]
    texts = []
    for _ in range(count):
        parts = []
        for _ in range(draw.randint(1, 14)):
            parts.append(draw.choice(draw.choice(groups)))
            if draw.random() < 0.35:
                parts.append(" ")
        texts.append("".join(parts))
    return texts


def hostile_texts():
    texts = ["", " ", "\n", "a", " a", "a ", "  a  "]
    texts += SCRIPTS + SPACES + EMOJI + MARKS + PLAIN + SPECIALS
    texts += ["x" + s + "y" + s + s + "z" for s in SPACES]
    texts += ["x" + s * 3 + "\n" + s + "1" for s in SPACES]
    texts += [f"a {s} b{s}c  {s}  d\n{s}\te" for s in SPECIALS]
    texts += [f"_{s}é{s}1{s}\u0301{s}\u200d{s}." for s in SPECIALS]
    texts += [f"{a}{b}" for a in SPECIALS[:10] for b in SPECIALS[:10]]
    texts += ["7" * n for n in (2, 3, 4, 7, 40)]
    texts += [" " * n + "a" for n in (2, 3, 17, 300)]
    texts += ["\n" * n + "a" for n in (2, 3, 17)]
    texts += ["a\r\nb\rc\n\rd\r\n\r\n e \r\n f", "a \n b\t\n\tc\n \nd", " \u00a0 x", "\u3000 \u3000x"]
    texts += ["".join(map(chr, range(0, 128))), "".join(map(chr, range(128, 1024)))]
    texts += ["".join(chr(c) + s for c in range(0x2000, 0x2070) for s in ("", "a"))]
    texts += random_texts(1, 250)
    return texts


def long_text(name):
    """1 MB without a space, by a formula that the test knows too."""
    if name == "one letter":
        return "a" * (1 << 20)
    letters = "etaoinshrdlu" if name == "letters" else "天地玄黄宇宙洪荒日月"
    state = 1
    out = []
    for _ in range((1 << 20) if name == "letters" else (1 << 20) // 3):
        state = (state * 6364136223846793005 + 1442695040888963407) % (1 << 64)
        out.append(letters[(state >> 33) % len(letters)])
    return "".join(out)


def hash_ids(rows):
    digest = xxhash.xxh3_64()
    for ids in rows:
        digest.update(b"".join(i.to_bytes(4, "little") for i in ids))
    return digest.hexdigest()


INVALID = [
    b"\xff", b"a\xffb", b"\xc3", b"\xc3(", b"\xe2\x82", b"\xe2\x82a", b"\xe2(\xa1", b"\xf0\x9f\x98",
    b"\xf0\x9f\x98\xf0\x9f\x98\x80", b"\xed\xa0\x80", b"\xed\xa0\x80\xed\xb0\x80", b"\xc0\xaf",
    b"\xe0\x80\xaf", b"\xf4\x90\x80\x80", b"\xf8\x88\x80\x80\x80", b"\x80\x80", b"ab\xf1\x80\x80cd",
    b"\xf0\x80\x80\x80", b"Hello \xe4\xb8 world \xfe\xff.", b"\xe4\xb8\xad\xe4\xb8", b"\xdf\xbf\xdf",
]

BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}


def regex_split(pattern, behavior="Isolated", invert=False):
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": behavior, "invert": invert}


def component_configs():
    """Settings of single parts, beyond what the five kinds use."""
    replace = {"type": "Replace", "pattern": {"String": "a"}, "content": "bb"}
    regex_replace = {"type": "Replace", "pattern": {"Regex": r"\s{2,}|\d+"}, "content": "_"}
    both = {"type": "Strip", "strip_left": True, "strip_right": True}
    left = {"type": "Strip", "strip_left": True, "strip_right": False}
    normalizer_configs = [{"type": n} for n in ("NFC", "NFD", "NFKC", "NFKD", "Lowercase")]
    normalizer_configs += [replace, regex_replace, both, left, {"type": "Prepend", "prepend": "▁"}]
    normalizer_configs += [
        {"type": "Sequence", "normalizers": [both, {"type": "NFKC"}, {"type": "Lowercase"}, replace]}
    ]
    behaviors = ["Isolated", "Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous"]
    pre = [regex_split(r"[\s,.]|\d+", b, i) for b in behaviors for i in (False, True)]
    pre += [{"type": "Split", "pattern": {"String": " "}, "behavior": b, "invert": False}
            for b in behaviors]
    pre += [regex_split(p) for p in (
        LLAMA4, r"\w+|[^\w\s]+", r"[\w]+", r"\bw|\B.", r"^.|.$", r"\h{2}", r"[\d\-x]{,2}y?", r"(?i:hello|the)\W",
        r"a*", r"(?<=a)b|(?<!a)\p{Han}", r"\p{^L}\P{N}", r"[^\S\n]+", r"\p{Sc}", r"\x41|\u0042",
        r"(?:\p{L}\p{M}*)+", r"\p{L}++|\p{N}{2}?1", r"[\u4e00-\u9fff]|[\x{3040}-\x{30ff}]+")]
    pre += [{"type": "Digits", "individual_digits": d} for d in (False, True)]
    pre += [{"type": "Punctuation", "behavior": b} for b in behaviors]
    pre += [{"type": "Whitespace"}, {"type": "WhitespaceSplit"}]
    pre += [{"type": "Metaspace", "replacement": "▁", "prepend_scheme": s, "split": p}
            for s in ("always", "first", "never") for p in (True, False)]
    pre += [dict(BYTE_LEVEL, add_prefix_space=a, use_regex=u) for a in (True, False) for u in (True, False)]
    pre += [{"type": "Sequence", "pretokenizers": s} for s in (
        [{"type": "Digits", "individual_digits": True}, BYTE_LEVEL],
        [BYTE_LEVEL, {"type": "Digits", "individual_digits": False}],
        [{"type": "WhitespaceSplit"}, {"type": "Punctuation", "behavior": "Isolated"}],
        [{"type": "Punctuation", "behavior": "Contiguous"}, {"type": "Digits", "individual_digits": True},
         dict(BYTE_LEVEL, add_prefix_space=False)],
        [regex_split(r"[\r\n]"), regex_split(r"\s?[A-Za-z]+"), BYTE_LEVEL],
    )]
    fallback = [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"},
                {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]
    decoder_configs = [
        None, BYTE_LEVEL, {"type": "ByteFallback"}, {"type": "Fuse"},
        {"type": "Strip", "content": " ", "start": 2, "stop": 0},
        {"type": "Replace", "pattern": {"Regex": "a+"}, "content": "-"},
        {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True},
        {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "never", "split": True},
        {"type": "Sequence", "decoders": fallback},
    ]
    return normalizer_configs, pre, decoder_configs


def with_part(part, config):
    file = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
            "pre_tokenizer": None, "post_processor": None, "decoder": None,
            "model": {"type": "BPE", "vocab": {}, "merges": []}}
    file[part] = config
    return Tokenizer.from_str(json.dumps(file))


def component_results():
    draw = random.Random(3)
    normalizer_configs, pre, decoder_configs = component_configs()
    texts = hostile_texts()
    result = {"normalizers": [], "pre_tokenizers": [], "decoders": []}

    def pick(count, extra):
        return [t for t in draw.sample(texts, count) if len(t) < 120] + extra

    for config in normalizer_configs:
        inputs = pick(25, ["  aa1 a  22\n", "Éa\u0301 ǅ"] + draw.sample(MARKS, 8) + draw.sample(SCRIPTS, 4))
        part = with_part("normalizer", config).normalizer
        cases = [[t, part.normalize_str(t)] for t in inputs]
        result["normalizers"].append({"config": config, "cases": cases})
    for config in pre:
        inputs = pick(20, ["a, b..c  12 3", "Hello THE w aabb1 cafe\u0301 日本 ABy"]) + draw.sample(SCRIPTS, 3)
        part = with_part("pre_tokenizer", config).pre_tokenizer
        cases = [[t, [p for p, _ in part.pre_tokenize_str(t)]] for t in inputs if t]
        result["pre_tokenizers"].append({"config": config, "cases": cases})
    rows = [["▁He", "llo", "▁", "▁w"], ["<0xE2>", "<0x82>", "<0xAC>", "a"], ["<0xE2>", "a", "<0x41>"],
            ["<0xFF>"], [], ["  a", "  ", "aa b"], ["Ġthe", "ĠÃ", "©", "日"], ["Ã"], ["<0xZZ>", "<0x4>"]]
    for config in decoder_configs:
        usable = [r for r in rows if not (config and config["type"] == "Strip" and "" in r)]
        if config is None:
            cases = [[r, " ".join(r)] for r in usable]
        else:
            part = with_part("decoder", config).decoder
            cases = [[r, part.decode(r)] for r in usable]
        result["decoders"].append({"config": config, "cases": cases})
    return result


def trained_on(texts, kind, vocabulary):
    """What the library's trainer learns: the merges, in order."""
    tokenizer = Tokenizer(models.BPE())
    if kind == "gpt2":
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    else:
        tokenizer.pre_tokenizer = words_then_bytes(LLAMA3)
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return json.loads(tokenizer.to_str())["model"]["merges"]


def write(path, value):
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=True, separators=(",", ":")) + "\n")


def main():
    documents, corpus = fortunes()
    texts = hostile_texts()
    write(HERE / "hostile.json", texts)
    write(HERE / "invalid_utf8.json", [[b.hex(), b.decode("utf-8", "replace")] for b in INVALID])
    write(HERE / "components.json", component_results())
    write(HERE / "trained.json", {k: trained_on(texts, k, 500) for k in ("gpt2", "llama3")})
    for kind in ("gpt2", "llama3", "qwen2", "deepseek_v3", "llama2"):
        tokenizer = make(kind, documents)
        folder = HERE / kind
        write(folder / "tokenizer.json", json.loads(tokenizer.to_str()))
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        bos, eos = ("<s>", "</s>") if kind == "llama2" else ("<|bos|>", "<|eos|>")
        write(folder / "tokenizer_config.json", {"bos_token": bos, "eos_token": {"content": eos}})
        rows = [tokenizer.encode(t).ids for t in texts]
        decoded = [tokenizer.decode(ids) for ids in rows]
        with_specials = [tokenizer.decode(ids, skip_special_tokens=False) for ids in rows]
        write(
            folder / "expected.json",
            {
                "library": f"tokenizers {tokenizers.__version__}",
                "ids": rows,
                # null: the text itself.
                "decoded": [None if d == t else d for d, t in zip(decoded, texts)],
                "decoded_with_specials_hash": xxhash.xxh3_64(
                    "\0".join(with_specials).encode()).hexdigest(),
                "long": {n: hash_ids([tokenizer.encode(long_text(n)).ids])
                         for n in ("one letter", "letters", "ideographs")},
                "fortunes": {"corpus": corpus, "documents": len(documents),
                             "ids": hash_ids(tokenizer.encode(d).ids for d in documents)},
            },
        )
        print(kind, tokenizer.get_vocab_size())


if __name__ == "__main__":
    main()
