#!/usr/bin/env python3
"""Checks that every folder of the code includes only folders below it.

    tools/check_folders.py [ROOT]       prints every include that breaks a rule; exit code 1 if any
    tools/check_folders.py --self-test  plants one of each kind and expects it to be found
"""

import pathlib
import re
import sys
import tempfile

# From the top of the ladder to its bottom. Folders of one rung do not include each other.
LADDER = [
    ["apps"],
    ["train"],
    ["models"],
    ["parallel"],
    ["optim", "checkpoint"],
    ["nn", "cuda", "operators"],
    ["ops"],
    ["kernels"],
    ["comm", "data"],
    ["mask"],
    ["base"],
]
RUNG = {folder: len(LADDER) - i for i, rung in enumerate(LADDER) for folder in rung}
WITHOUT_TORCH = {"base", "mask", "data", "kernels"}
# What a reader of a model's definition should not have to know.
WITHOUT_PARALLEL = re.compile(r"src/coeus/models/.*/?(model|masks)\.(cpp|h)$")
# These stand beside the ladder: they may include every folder, and nothing includes them.
BESIDE = ["tests", "bench", "examples"]
SUFFIXES = {".cpp", ".h", ".cu", ".cuh"}

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^">]+)[">]')
TORCH = re.compile(r"^(torch|ATen|c10|caffe2)/")


def folder_of(path):
    """The name on the ladder of a source file's folder; None beside the ladder."""
    if path.parts[0] in ("apps", *BESIDE):
        return "apps" if path.parts[0] == "apps" else None
    return path.parts[2] if len(path.parts) > 3 else path.name


def complaint(path, folder, bracket, included):
    """Why the file at `path` may not include `included`, or None."""
    if folder in WITHOUT_TORCH and TORCH.match(included):
        return f"{folder}/ includes no torch header"
    if bracket == '"' and ".." in pathlib.PurePosixPath(included).parts:
        return 'name the folder instead of climbing with ".."'
    if not included.startswith("coeus/"):
        return None
    target = included.split("/")[1]
    if target not in RUNG:
        return f"{target}/ is not on the ladder; give it a rung in {pathlib.Path(__file__).name}"
    if target == "parallel" and WITHOUT_PARALLEL.search(path.as_posix()):
        return "a model's definition and masks know nothing of parallelism: use parallelize.cpp"
    if folder is None or folder == target or RUNG[target] < RUNG[folder]:
        return None
    if RUNG[target] == RUNG[folder]:
        return f"{folder}/ and {target}/ stand on one rung"
    return f"{target}/ stands above {folder}/"


def check(root):
    """All complaints about the sources under `root`, and the number of files read."""
    found = []
    files = 0
    for top in ("src", "apps", *BESIDE):
        for file in sorted((root / top).rglob("*")):
            if file.suffix not in SUFFIXES:
                continue
            files += 1
            path = file.relative_to(root)
            folder = folder_of(path)
            if folder is not None and folder not in RUNG:
                found.append(f"{path}: {folder} is not on the ladder of {pathlib.Path(__file__).name}")
                continue
            for number, line in enumerate(file.read_text(errors="replace").splitlines(), 1):
                match = INCLUDE.match(line)
                why = match and complaint(path, folder, *match.groups())
                if why:
                    found.append(f"{path}:{number}: {line.strip()}: {why}")
    return found, files


def self_test():
    planted = {
        "src/coeus/mask/up.h": ('#include "coeus/ops/attention.h"', "ops/ stands above mask/"),
        "src/coeus/data/aside.cpp": ('#include "coeus/comm/mesh.h"', "stand on one rung"),
        "src/coeus/base/heavy.h": ("#include <ATen/core/Tensor.h>", "no torch header"),
        "src/coeus/kernels/cpu/heavy.cpp": ("  #  include <torch/torch.h>", "no torch header"),
        "src/coeus/models/llama3/model.cpp": ('#include "coeus/parallel/fsdp.h"', "parallelize.cpp"),
        "src/coeus/models/llama3/masks.cpp": ('#include "coeus/parallel/fsdp.h"', "parallelize.cpp"),
        "src/coeus/nn/climb.cpp": ('#include "../train/trainer.h"', "climbing"),
        "src/coeus/odd/new.cpp": ("", "not on the ladder"),
        "src/coeus/stray.cpp": ("", "not on the ladder"),
        "tests/odd.cpp": ('#include "coeus/odd/new.h"', "not on the ladder"),
    }
    allowed = {
        "src/coeus/models/llama3/parallelize.cpp": '#include "coeus/parallel/fsdp.h"',
        "src/coeus/nn/linear.h": "#include <ATen/core/Tensor.h>",
        "src/coeus/mask/lower.cpp": '#include "coeus/mask/lower.h"\n#include "coeus/base/error.h"',
        "apps/main.cpp": '#include "commands.h"\n#include "coeus/train/trainer.h"',
        "bench/step.cpp": '#include "coeus/train/trainer.h"',
    }
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        for name, text in [*((n, t) for n, (t, _) in planted.items()), *allowed.items()]:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text + "\n")
        found, _ = check(root)
    for name, (_, why) in planted.items():
        mine = [line for line in found if line.startswith(name + ":")]
        assert len(mine) == 1 and why in mine[0], f"{name}: expected '{why}', got {mine}"
    assert len(found) == len(planted), f"complains of what is allowed: {found}"
    print(f"the folder check finds all {len(planted)} planted includes")


def main():
    if sys.argv[1:] == ["--self-test"]:
        return self_test()
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent.parent)
    found, files = check(root)
    if found or not files:
        sys.exit("\n".join(found) or f"no sources under {root}")
    print(f"{files} files include only folders below their own")


if __name__ == "__main__":
    main()
