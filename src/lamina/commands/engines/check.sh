git diff --quiet HEAD -- ':/' ':(top,exclude)*dvc.lock' || {
  echo "error: jobs work in clones of the commit, and there are changes that are not committed; commit them first" >&2
  exit 2
}
