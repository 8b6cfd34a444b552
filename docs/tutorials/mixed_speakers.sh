# %% [markdown]
# # Study: which of two people talking at once is spoofed?
#
# A mixture has two talkers, and each of them is bona fide (B) or spoofed (S). Two systems answer
# for a mixture: SS, SB or BB? `oracle` scores each talker on a clean stem, which a real recording
# doesn't have. `direct` sees the mixture alone and has an output for each talker. The difference is
# what mixing costs. It takes three minutes on a core. [Mixed speakers](../mixed_speakers.md) names the
# other systems (`separated`, `joint`) and the files.
#
# ## Mixtures
#
# 600 mixtures of train, 100 of dev and 150 of eval, of the corpus of `make mini`. No speaker and no
# utterance is in two sets. `plan.tsv` can be rendered again to the same samples.
# %%
egs/mixed_speaker/run.sh --mini true --num_mixtures "600 100 150" --system oracle --stop_stage 2
head -n 2 egs/mixed_speaker/data/mixed_mini/mixtures/train/plan.tsv
# %% [markdown]
# ## The upper bound: a detector on stems
# %%
egs/mixed_speaker/run.sh --mini true --num_mixtures "600 100 150" --system oracle --stage 3 \
  --stop_stage 7 --nproc 1 --bootstrap 200 --train_options "--num_epochs 6"
# %% [markdown]
# ## One network for the mixture
# %%
egs/mixed_speaker/run.sh --mini true --num_mixtures "600 100 150" --system direct --nproc 1 \
  --bootstrap 200 --train_options "--num_epochs 6"
# %% [markdown]
# ## Compare
#
# The rows of a confusion matrix are what a mixture is, and columns what was decided. Both systems
# are small and were trained for a minute: a macro F1 near 0.333 is chance. The last lines ask whether
# any talker of a mixture is spoofed.
# %%
for system in oracle_resnet18_small direct_talkers_direct_small; do
  echo "== $system"
  results=egs/mixed_speaker/data/mixed_mini/exp/$system/mixtures/eval/results.txt
  grep -E "^(classes|confusion|macro_f1)" $results
  tail -n 2 $results
done
