# shellcheck shell=bash
# Every night and every week: compare with Clockify and repair. For each workspace two jobs, which
# share one image, and a schedule for each. Sourced by deploy.sh.

make_repairs() {
  local each
  if [[ $NIGHTLY == no ]]; then
    remove_repairs
    return
  elif ! repairs; then
    return # as long as there is no key, what there is stays
  fi
  IMAGE=$(awk -F '\t' -v source="$SOURCE_DIGEST" '$4 == source { print $6; exit }' <<<"$JOBS")
  for each in $MAIN $OTHERS; do
    make_repair "$SERVICE-repair$(suffix_of "$each")" "$each" "$REPAIR_DAYS" 7 3h \
      "$REPAIR_SCHEDULE" '17 2 * * *'
    make_repair "$SERVICE-weekly$(suffix_of "$each")" "$each" "$WEEKLY_DAYS" 92 12h \
      "$WEEKLY_SCHEDULE" '47 3 * * 0'
  done
}

make_repair() { # NAME WORKSPACE DAYS OWN_DAYS TIMEOUT SCHEDULE OWN_SCHEDULE
  local days=${3:-$(column "$JOBS" "$1" 5)} when=${6:-$(column "$SCHEDULES" "$1" 2)} zone
  zone=${REPAIR_TIME_ZONE:-$(column "$SCHEDULES" "$1" 3)}
  make_job "$1" "$2" "${days:-$4}" "$5"
  bind roles/run.invoker 'run jobs' "$NEW" "$1" --region="$REGION"
  make_schedule "$1" "${when:-$7}" "${zone:-Etc/UTC}"
}

make_job() { # NAME WORKSPACE DAYS TIMEOUT: NEW is whether it was not there
  local settings digest repair kinds=()
  if wants_kinds; then kinds=(--kinds "time-entries,$WITH"); fi
  repair=$(printf '%s\n' -- python -m commands.backfill --workspace "$2" \
    ${kinds[@]+"${kinds[@]}"} --days "$3" --apply)
  settings=(
    # An image that buildpacks made finds its Python through the launcher.
    --command=/cnb/lifecycle/launcher --args="$(joined "$repair")"
    # A second try of what was refused is refused again; the next night is soon enough for the rest.
    --service-account="$ACCOUNT" --cpu=1 --memory=512Mi --max-retries=0 --task-timeout="$4"
    --set-env-vars="$(joined "$(settings_for "$(key_name_of "$2")")")"
  )
  digest=$(printf '%s\n' "$SOURCE_DIGEST" "${settings[@]}" | digest)
  NEW=''
  [[ $(column "$JOBS" "$1" 1) ]] || NEW=1
  if [[ $(column "$JOBS" "$1" 3) == "$digest" ]]; then
    say "job $1: is there, same source, same settings"
    return
  fi
  settings+=(--labels="$MADE_BY,digest=$digest,source=$SOURCE_DIGEST,workspace=$2,days=$3")
  if [[ ! $IMAGE && $BUILDER ]]; then build_image "$1"; fi
  if [[ $IMAGE ]]; then
    change gcloud run jobs deploy "$1" --image="$IMAGE" --region="$REGION" "${settings[@]}"
    return
  fi
  allow_build
  change gcloud run jobs deploy "$1" --source="$HERE" --region="$REGION" "${settings[@]}"
  IMAGE=what-$1-has
  [[ $DRY_RUN ]] || IMAGE=$(gcloud run jobs describe "$1" --region="$REGION" \
    --format='value(spec.template.spec.template.spec.containers[0].image)')
}

# `run jobs deploy --source` cannot be told who builds. Not every owner may read the build's log,
# which gcloud wants to follow unless it does not wait.
build_image() { # NAME
  local look status=''
  IMAGE=$REGION-docker.pkg.dev/$PROJECT/cloud-run-source-deploy/$1:$SOURCE_DIGEST
  allow_build
  change gcloud builds submit "$HERE" --region="$REGION" --pack="image=$IMAGE" --async \
    --service-account="projects/$PROJECT/serviceAccounts/$BUILDER" \
    --default-buckets-behavior=regional-user-owned-bucket --format='value(id)'
  if [[ $DRY_RUN ]]; then return; fi
  say "The build $ANSWER takes 2 to 3 minutes."
  for ((look = 0; look < 120; look++)); do
    status=$(gcloud builds describe "$ANSWER" --region="$REGION" --format='value(status)')
    [[ $status =~ ^(PENDING|QUEUED|WORKING)$ ]] || break
    sleep "$WAIT_SECONDS"
  done
  [[ $status == SUCCESS ]] ||
    die "the build of the jobs' image ended with $status: see  gcloud builds log $ANSWER" \
      "--region=$REGION --project=$PROJECT"
}

make_schedule() { # NAME SCHEDULE TIME_ZONE
  local settings uri now
  uri=https://run.googleapis.com/v2/projects/$PROJECT/locations/$REGION/jobs/$1:run
  settings=(
    --location="$REGION" --schedule="$2" --time-zone="$3" --uri="$uri" --http-method=post
    --oauth-service-account-email="$ACCOUNT" --description="$MADE_BY"
  )
  now=$(awk -F '\t' -v name="$1" '$1 == name' <<<"$SCHEDULES")
  if [[ ! $now ]]; then
    change gcloud scheduler jobs create http "$1" "${settings[@]}"
  elif [[ $now == "$1"$'\t'"$2"$'\t'"$3"$'\t'"$uri"$'\t'* ]]; then
    say "schedule $1: is there"
  else
    change gcloud scheduler jobs update http "$1" "${settings[@]}"
  fi
}

remove_repairs() {
  local each
  for each in $(cut -f 1 <<<"$SCHEDULES"); do
    change gcloud scheduler jobs delete "$each" --location="$REGION" --quiet
  done
  for each in $(cut -f 1 <<<"$JOBS"); do
    change gcloud run jobs delete "$each" --region="$REGION" --quiet
  done
}
