# %% [markdown]
# # Detection, step by step
#
# Stages 1 to 7, each typed under its name, on the corpus of `make mini`: 1,150 files of human speech
# and of synthesis. It takes two minutes on a core, and two more where the corpus is not built
# yet. [Detection](../detection.md) says what each file holds.
#
# Commands start in the repository's root after `make setup` and `. .venv/bin/activate`. The corpus
# comes first, unless it is there.
# %%
python egs/mini/local/make_corpus.py --out_dir egs/mini/corpus --download_dir egs/mini/downloads
# %% [markdown]
# ## Stage 1: data directories
#
# The corpus has the layout of ASVspoof 2019 LA, so the preparation of that corpus reads it. Each set
# becomes a folder of text files, a line an utterance.
# %%
python egs/asvspoof2019_la/local/prepare_data.py --corpus_dir egs/mini/corpus --data_dir data \
  --expect_counts false
python tools/validate_data_dir.py data/train data/dev data/eval
head -n 3 data/train/wav.scp data/train/utt2lab data/train/utt2spk data/train/utt2attack
# %% [markdown]
# ## Stage 2: lists
#
# Training reads tar shards. All audio is decoded once here, so that a damaged file is refused by its
# name and not in the middle of a training. `tools/make_raw_list.py` lists the files as they lie, for
# `--data_type raw`.
# %%
for set in train dev eval; do
  python tools/make_shard_list.py --shuffle --prefix shards data/$set/wav.scp data/$set/utt2lab \
    data/$set/shards data/$set/shard.list
done
cat data/train/shard.list
# %% [markdown]
# ## Stage 3: train
#
# A system is one YAML. Every key of it is an option too, here `--num_epochs`.
# %%
tools/launch.sh --nproc=1 wedefense_lite/bin/train.py --config conf/resnet18_small.yaml \
  --exp_dir exp/walk --data_type shard --num_epochs 20 --num_avg 5 \
  --train_data data/train/shard.list --train_label data/train/utt2lab \
  --val_data data/dev/shard.list --val_label data/dev/utt2lab
# %% [markdown]
# `metrics.csv` has a line an epoch. Dev is scored in each third one, as the YAML says.
# %%
cut -d, -f1,4-7 exp/walk/metrics.csv
# %% [markdown]
# ## Stage 4: average the last epochs, extract embeddings
# %%
python wedefense_lite/bin/average_model.py --dst_model exp/walk/models/avg_model.pt \
  --src_path exp/walk/models --num 5 --bn_data data/train/shard.list --data_type shard
for set in dev eval; do
  tools/launch.sh --nproc=1 wedefense_lite/bin/extract.py --config exp/walk/config.yaml \
    --model_path exp/walk/models/avg_model.pt --data_type shard \
    --data_list data/$set/shard.list --embed_ark exp/walk/embeddings/$set/embedding.ark
done
ls exp/walk/embeddings/eval
# %% [markdown]
# ## Stage 5: logits
# %%
for set in dev eval; do
  python wedefense_lite/bin/infer.py --config exp/walk/config.yaml \
    --model_path exp/walk/models/avg_model.pt \
    --embedding_scp_path exp/walk/embeddings/$set/embedding.scp \
    --out_path exp/walk/posteriors/$set
done
# %% [markdown]
# ## Stage 6: log-likelihood ratios
#
# Training saw more spoofed than bona fide speech. Stage 6 divides that prior out. With logits and
# labels of dev it calibrates too, which changes actual DCF and Cllr but not EER and min DCF.
# %%
python wedefense_lite/bin/logits_to_llr.py --pi_spoof 0.05 --training_counts data/train/lab2num_utts \
  --train_label data/train/utt2lab --logits_scp_path exp/walk/posteriors/eval/logits.scp
python wedefense_lite/bin/logits_to_llr.py --pi_spoof 0.05 --training_counts data/train/lab2num_utts \
  --train_label data/train/utt2lab --logits_scp_path exp/walk/posteriors/eval/logits.scp \
  --cal_logits_scp_path exp/walk/posteriors/dev/logits.scp --cal_label data/dev/utt2lab \
  --llr_path exp/walk/posteriors/eval_calibrated/llr.txt
head -n 4 exp/walk/posteriors/eval_calibrated/llr.txt
# %% [markdown]
# ## Stage 7: evaluate
#
# A higher LLR is more bona fide. A16 is the engine of A04 in train, and easiest; A09 is made of
# pieces of human speech, and hardest to tell.
# %%
python wedefense_lite/bin/evaluate.py --m t1 --cm exp/walk/posteriors/eval_calibrated/llr.txt \
  --cm_key data/eval/cm_key_file.txt --meta data/eval/utt2attack --by attack --bootstrap 200 \
  --json exp/walk/results_eval_calibrated.json --txt exp/walk/results_eval_calibrated.txt
# %% [markdown]
# `egs/mini/run.sh` does all of this in one command, and `wedefense-lite stages egs/mini` prints what
# it types. The next page is the [course exercise](course.md).
