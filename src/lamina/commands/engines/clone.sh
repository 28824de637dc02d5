root=$(git rev-parse --show-toplevel)
place=$PWD/.lamina/jobs/$stage
clone=$place/$(basename "$root")
system=$clone/$(git rev-parse --show-prefix)
if [ "$(cat "$place/commit" 2>/dev/null)" != "$commit" ]; then
  rm -rf "$place"
  git clone --quiet --no-checkout "$root" "$clone"
  git -C "$clone" checkout --quiet --detach "$commit"
  [ ! -f "$dvc/config.local" ] || cp "$dvc/config.local" "$system/$dvc/"
  echo "$commit" > "$place/commit"
fi
cd "$system"
{% include "stage.sh" %}
rm -rf "$place"
