rm -f dvc.lock
LAMINA_ONLY=$stage dvc repro --pull "$stage"
dvc push --quiet "$stage"
dvc push --quiet --run-cache "$stage"
