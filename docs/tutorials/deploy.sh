# %% [markdown]
# # Deploy: from an experiment to a detector that others run
#
# An experiment becomes a folder (a bundle), the bundle becomes a graph that needs no PyTorch, and
# both score recordings from the command line and over HTTP. It needs the extras `onnx` and `serve`,
# which `make setup` installs, and a trained system: three minutes on a core.
# %%
egs/mini/run.sh --stop_stage 7 --nproc 1 --bootstrap 100
# %% [markdown]
# ## A bundle
#
# It holds weights, configuration, thresholds from dev and a card with results. `--dev_list` lets it
# say when a recording is unlike what dev had.
# %%
exp=egs/mini/exp/resnet18_small
wedefense-lite export --exp_dir $exp --out_dir bundle --dev_label egs/mini/data/dev/utt2lab \
  --dev_list egs/mini/data/dev/shard.list \
  --calibration $exp/posteriors/eval_calibrated/calibration.json --far 0.01 \
  --licence apache-2.0 --training_data "egs/mini train"
ls bundle
# %% [markdown]
# ## Score recordings
#
# Two files of eval, by a bundle: one bona fide, one spoof of attack A16. Files, folders and patterns
# of any container and rate are taken.
# %%
bonafide=$(grep -m 1 bonafide egs/mini/data/eval/utt2lab | cut -d' ' -f1)
spoof=$(grep -m 1 A16 egs/mini/data/eval/utt2attack | cut -d' ' -f1)
for utterance in $bonafide $spoof; do
  cp $(awk -v id=$utterance '$1 == id {print $2}' egs/mini/data/eval/wav.scp) .
done
mv $bonafide.flac real.flac
mv $spoof.flac fake.flac
wedefense-lite score real.flac fake.flac --model bundle
# %% [markdown]
# ## A graph for devices
#
# The ONNX file holds the front end, the thresholds and the calibration. It is written where its
# logits are those of PyTorch within 1e-4. Scoring it imports no PyTorch.
# %%
wedefense-lite export-onnx --model bundle --output detector.onnx
wedefense-lite score real.flac fake.flac --model detector.onnx
# %% [markdown]
# ## A service
#
# `http://127.0.0.1:8000/` is a page for people; programs send a form. [Serving](../serving.md) has the
# limits, metrics and what stands before it in public.
# %%
wedefense-lite serve --model bundle --port 8000 > serve.log 2>&1 &
server=$!
trap 'kill $server' EXIT
curl -s --retry 60 --retry-delay 1 --retry-all-errors http://127.0.0.1:8000/health > /dev/null
curl -s -F file=@fake.flac http://127.0.0.1:8000/score
# %% [markdown]
# ## A call
#
# A stream is scored while it comes, here from a file in which the bona fide voice is followed by the
# spoofed one. `ALARM` marks a change from bona fide speech to spoof.
# %%
python - << 'END'
import numpy as np
import soundfile as sf

real, rate = sf.read("real.flac")
fake, _ = sf.read("fake.flac")
sf.write("call.wav", np.concatenate([real, real, fake, fake]), rate)
END
# %%
wedefense-lite score --stream --model bundle --window_seconds 2 --hop_seconds 1 < call.wav
