# shellcheck shell=bash
# Google Cloud writes to somebody where something is wrong: a notification channel and the policies of
# deploy/alert_policies.py, each with a label that says whose it is. Sourced by deploy.sh.

look_for_alerts() { # CHANNEL, ADDRESS and POLICIES are what an earlier run has made
  CHANNEL='' ADDRESS='' POLICIES=''
  if ! is_enabled monitoring; then return; fi
  # Without --filter: these lists hand it to Google, in a language of its own. The address has a
  # fingerprint, for Google may show it in part only.
  if there gcloud beta monitoring channels list --format="value(\
userLabels.clockify_salesforce,name,userLabels.address)"; then
    CHANNEL=$(column "$FOUND" "$SERVICE" 2) ADDRESS=$(column "$FOUND" "$SERVICE" 3)
  fi
  if [[ $CHANNEL$ALERTS_TO$NO_ALERTS$DELETE ]] &&
    there gcloud alpha monitoring policies list --format="value(\
userLabels.clockify_salesforce,userLabels.policy,userLabels.digest,name)"; then
    POLICIES=$(awk -F '\t' -v OFS='\t' -v service="$SERVICE" \
      '$1 == service { print $2, $3, $4 }' <<<"$FOUND")
  fi
}

wants_alerts() { [[ $ALERTS_TO || ($CHANNEL && ! $NO_ALERTS) ]]; }

make_alerts() {
  local policy digest json each jobs=()
  if [[ $NO_ALERTS ]]; then remove_alerts; fi
  if ! wants_alerts; then return; fi
  make_channel
  if repairs; then
    for each in $MAIN $OTHERS; do jobs+=(--job="$SERVICE-repair$(suffix_of "$each")"); done
  fi
  "$PYTHON" "$HERE/deploy/alert_policies.py" --project="$PROJECT" --service="$SERVICE" \
    --queue="$QUEUE" --channel="$CHANNEL" ${jobs[@]+"${jobs[@]}"} >"$SCRATCH/policies"
  while IFS=$'\t' read -r policy digest json; do
    printf '%s\n' "$json" >"$SCRATCH/$policy.json"
    if [[ $(column "$POLICIES" "$policy" 2) == "$digest" ]]; then
      say "alert $policy: is there"
    elif [[ $(column "$POLICIES" "$policy" 3) ]]; then
      change gcloud alpha monitoring policies update "$(column "$POLICIES" "$policy" 3)" \
        --policy-from-file="$SCRATCH/$policy.json"
    else
      change gcloud alpha monitoring policies create --policy-from-file="$SCRATCH/$policy.json"
    fi
  done <"$SCRATCH/policies"
}

make_channel() {
  local address
  address=$(printf '%s' "$ALERTS_TO" | digest)
  if [[ ! $CHANNEL ]]; then
    change gcloud beta monitoring channels create --type=email --format='value(name)' \
      --channel-labels="email_address=$ALERTS_TO" --display-name="$SERVICE" \
      --user-labels="clockify_salesforce=$SERVICE,address=$address"
    CHANNEL=${ANSWER:-projects/$PROJECT/notificationChannels/new}
  elif [[ ! $ALERTS_TO || $ADDRESS == "$address" ]]; then
    say "alerts: their channel is there"
  else
    change gcloud beta monitoring channels update "$CHANNEL" \
      --update-channel-labels="email_address=$ALERTS_TO" --update-user-labels="address=$address"
  fi
}

remove_alerts() {
  local each
  for each in $(cut -f 3 <<<"$POLICIES"); do
    change gcloud alpha monitoring policies delete "$each" --quiet
  done
  if [[ $CHANNEL ]]; then change gcloud beta monitoring channels delete "$CHANNEL" --quiet; fi
  CHANNEL='' POLICIES=''
}
