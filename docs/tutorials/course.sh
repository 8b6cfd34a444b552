# %% [markdown]
# # Course exercise: train an LCNN, watch it learn, ask it why
#
# A light convolutional network (LCNN) learns to tell human speech from synthesis. You plot how it
# learns, measure it on attacks that it has never met, and then compare what it looks at with what a
# vocoder really changed. All of it takes three minutes on one core, and two more where the corpus is
# not built yet.
#
# Start in a fresh clone with `make setup` and `. .venv/bin/activate`; commands run in the
# repository's root. `egs/mini/run.sh` runs numbered stages. [Detection, step by step](detection.md)
# types what is behind each number.
#
# ## The corpus
#
# Stage 1 builds a corpus of 1,150 files from Debian packages of speech and speech engines, and stage
# 2 packs it. `egs/mini/README.md` says what each attack is. The lines `pooled` of stage 1 are of a
# classifier that sees durations, levels and bands alone: near 50 %, the corpus gives nothing away by
# them. The equal error rate (EER) is where as many bona fide utterances are rejected as spoofs accepted.
# %%
egs/mini/run.sh --stop_stage 2
cut -d' ' -f2 egs/mini/data/eval/utt2attack | sort | uniq -c
# %% [markdown]
# ## Train
#
# `conf/lcnn_small.yaml` is an LCNN on spectrograms with a third of the usual channels. Dev is scored
# after each epoch here, so that there is a curve.
# %%
egs/mini/run.sh --stage 3 --stop_stage 3 --config conf/lcnn_small.yaml --exp_dir exp/lcnn --nproc 1 \
  --train_options "--num_epochs 12 --validate_interval 1"
# %% [markdown]
# ## Plot loss and EER by epoch
#
# `metrics.csv` has a line an epoch.
# %%
python - << 'END'
import csv

from matplotlib import pyplot as plt

with open("exp/lcnn/metrics.csv") as file:
    rows = list(csv.DictReader(file))
epochs = [int(row["epoch"]) for row in rows]
figure, (loss_axes, eer_axes) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
loss_axes.plot(epochs, [float(row["train_loss"]) for row in rows], label="train")
loss_axes.plot(epochs, [float(row["dev_loss"]) for row in rows], label="dev")
loss_axes.set(xlabel="epoch", ylabel="cross-entropy, nats", ylim=(0, None))
loss_axes.legend()
eer_axes.plot(epochs, [100 * float(row["dev_eer"]) for row in rows])
eer_axes.set(xlabel="epoch", ylabel="EER of dev, %", ylim=(0, None))
figure.savefig("exp/lcnn/curves.png", dpi=100)
best = min(rows, key=lambda row: float(row["dev_eer"]))
print(f"best epoch {best['epoch']}: EER of dev {100 * float(best['dev_eer']):.2f} %")
END
# %% [markdown]
# ![Loss and EER by epoch](exp/lcnn/curves.png)
#
# Where the loss of dev rises while that of train falls, the network learns its training files by
# heart. Does the EER of dev rise with it?
#
# ## Test
#
# Stages 4 to 7 average the last five epochs, score dev and eval, and measure them.
# %%
egs/mini/run.sh --stage 4 --stop_stage 7 --config conf/lcnn_small.yaml --exp_dir exp/lcnn --nproc 1 \
  --bootstrap 200
# %% [markdown]
# The last table is of eval, its scores calibrated on dev; `llr`s are log-likelihood ratios. Compare
# `pooled` with the EER of the best epoch on dev, above, and the attacks with each other. The engines
# of A16 and A19 are in train too, where they are A04 and A03; the other three are new. Is a known
# engine always easier? A warning marks attacks whose EER is near or over 50 %.
#
# ## Explain
#
# Is the network right for the right reason? Stage 9 takes twelve bona fide utterances of eval and
# copies each by a vocoder (Griffin-Lim, the engine of A04 and A16). Real and copy say the same words
# at the same time, so their spectrograms can be subtracted. The 5 % of cells that differ most are
# the ground-truth mask: what the vocoder did ([arXiv 2506.03425](https://arxiv.org/abs/2506.03425)).
# An explanation is good if its own top 5 % lie in the mask.
# %%
egs/mini/run.sh --stage 9 --stop_stage 9 --config conf/lcnn_small.yaml --exp_dir exp/lcnn --nproc 1
# %% [markdown]
# Rows are methods, beside two controls: random attributions, and the same methods on a network with
# randomised weights. `iou` and `precision` are of the top 5 % and the mask, `mass` is the share of
# relevance within the mask, `rank` the share of the mask among as many cells of the highest relevance,
# and `pointing` whether the highest cell is in the mask. `iou_over_random` says how much better than
# chance a method is; in brackets are 95 % intervals. Pictures and the numbers of each pair are in `exp/lcnn/explanations`.
#
# ![Real, copy, mask and explanations of the first pair](exp/lcnn/explanations/001.png)
#
# ## Questions
#
# 1. Which methods are better than chance? Is an interval of `iou_over_random` without 1 enough, or
#    must the trained network beat the one with randomised weights too?
# 2. Repeat stages 3 to 7 and 9 with 40 epochs (`--num_epochs 40` and another `--exp_dir`), and with
#    `conf/resnet18_small.yaml`. Does a lower EER go with explanations that fit the mask better?
# 3. `--explain_options "--difference relative --methods input_x_gradient"` of stage 9 takes the
#    difference relative to the real spectrogram. Which cells are the mask then?
# 4. Which attack does the network miss most? Listen to five files of it: `egs/mini/data/eval/utt2attack`
#    has the attack of each utterance, and `wav.scp` its file.
#
# `egs/mini/run.sh --stage 8 --stop_stage 8 --exp_dir exp/lcnn --config conf/lcnn_small.yaml` writes
# `exp/lcnn/report.html`, a page with all of these numbers and more: [reading a report](../report.md) tells
# how.
