# shellcheck shell=bash
# Clockify's side: its webhooks, for every workspace whose key there is. Sourced by deploy.sh.

webhooks() { # WORKSPACE OPTION...: run commands.webhooks with the key on its stdin
  command_of webhooks --url="$URL" ${1:+--workspace="$1"} ${DRY_RUN:+--dry-run} \
    ${WITH:+--with="$WITH"} ${DROPPED:+--without="$DROPPED"} "${@:2}" \
    < <(printf '%s\n' "$(key_of "$1")")
}

make_webhooks() {
  local each found='' kept='' failed=''
  if [[ $SKIP_WEBHOOKS ]]; then return; fi
  if [[ ! $API_KEY$STORED_KEY ]]; then
    say_kinds_to_click
    return
  fi
  for each in $MAIN $OTHERS; do
    [[ $(key_of "$each") ]] || continue
    say "Clockify's webhooks for $URL${OTHERS:+ in workspace $each}:"
    found+=$(webhooks "$each")$'\n' || failed=1
  done
  # What is stored stays, so that nothing authentic is refused, least of all what is queued.
  if [[ ! $DROP_OLD ]]; then kept=$(current_value "$SIGNING_SECRETS_NAME"); fi
  found=$(printf '%s\n' "$found" "$kept" "$SIGNING_SECRETS" | sed '/^$/d')
  if [[ $found && ! $DRY_RUN ]]; then
    found=$(command_of secret_values signing-secrets < <(printf '%s' "$found"))
    store_value "$SIGNING_SECRETS_NAME" "$found"
  fi
  [[ ! $failed ]] || die "the webhooks are not all there: see above."
}

say_kinds_to_click() {
  if ! wants_kinds; then return; fi
  say "! Of ${WITH//,/, } this makes no webhooks without an API key: give --clockify-api-key-file, or"
  say "  create one in Clockify for each of created, updated and deleted (anyone), as those of time"
  say "  entries. Invoices have no deleted, and need the plan Standard; over three webhooks, Basic."
}

say_what_to_click() {
  cat <<TEXT

Create the webhooks in Clockify: Preferences, Advanced, Webhooks (or the workspace's Webhooks page),
Create webhook, once for each event, with this URL:
  $URL
  1. Timer stopped (anyone)          4. Time entry deleted (anyone)
  2. Time entry created (anyone)     5. Time entry restored (anyone)
  3. Time entry updated (anyone)     6. Time entry split (anyone)
A Free workspace has three: take the first three. Copy each signing secret into a file, one per
line, and run:
  ./deploy.sh --signing-secrets-file FILE
TEXT
}
