rm -f dvc.lock
LAMINA_ONLY=watch dvc repro --pull
